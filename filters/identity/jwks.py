"""The keys of an identity provider (RFC 7517): read from a document, fetched, kept, fetched anew when they turn out too old."""

import asyncio
import json
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.ports import Clock

MAX_BYTES = 1 << 20  # providers publish a few KB
MAX_KEYS = 1000
FETCH_SECONDS = 10.0
FRESH_MS = 10 * 60_000  # then they are fetched anew while the old ones serve
STALE_MS = 24 * 3_600_000  # then a provider that cannot be reached is no longer believed
AGAIN_MS = 30_000  # between two fetches, whatever tokens claim
MAX_BACK_OFF_MS = 5 * 60_000
MIN_RSA_BITS = 2048  # RFC 7518, 3.3

_PLAIN = {"accept": "application/json", "accept-encoding": "identity"}

log = logging.getLogger(__name__)
Key = RSAKey | ECKey | OKPKey
_PUBLIC: Mapping[str, tuple[type[Key], Sequence[str]]] = {
    "RSA": (RSAKey, ("n", "e")),
    "EC": (ECKey, ("crv", "x", "y")),
    "OKP": (OKPKey, ("crv", "x")),
}
_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521", "Ed25519": "Ed25519"}


class KeysUnavailable(HeadraceError):
    """The provider's keys have not been fetched, and cannot be now."""


@dataclass(frozen=True, slots=True)
class _Signer:
    """A key that may sign. alg: the one algorithm it is for, None where the provider does not say."""

    key: Key
    kid: str | None
    kty: str
    curve: str | None
    alg: str | None

    def fits(self, alg: str) -> bool:
        return self.kty == _TYPES[alg[:2]] and self.alg in (None, alg) and _CURVES.get(alg) in (None, self.curve)


class KeySet:
    """A provider's signing keys."""

    def __init__(self, signers: tuple[_Signer, ...]) -> None:
        self._signers = signers
        self._kids = {signer.kid for signer in signers}

    def has(self, kid: str | None) -> bool:
        """Whether it knows the key id; a token without one asks for none in particular."""
        return kid is None or kid in self._kids

    def pick(self, kid: str | None, alg: str) -> Key | None:
        """The one key that may have signed; None when there is none, or several and no `kid` to tell them apart."""
        fitting = [signer.key for signer in self._signers if signer.fits(alg) and kid in (None, signer.kid)]
        return fitting[0] if len(fitting) == 1 else None


def parse_jwks(content: bytes) -> KeySet:
    """Keys that cannot verify a signature of ours (encryption, shared secrets, small RSA, unknown types) are left out.

    Raises ValueError for what is no JWK set, and for one that no key is left of.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"no JWK set: {{keys: [...]}} of up to {MAX_KEYS} keys is expected")
    signers = tuple(signer for entry in entries if isinstance(entry, dict) for signer in _signers(entry))
    if not signers:
        raise ValueError("a JWK set without a public key for signatures")
    return KeySet(signers)


def _signers(entry: dict[str, Any]) -> Iterator[_Signer]:
    kty, kid, alg = entry.get("kty"), entry.get("kid"), entry.get("alg")
    if not isinstance(kty, str) or kty not in _PUBLIC or entry.get("use", "sig") != "sig":
        return
    cls, members = _PUBLIC[kty]
    public = {name: value for name in members if isinstance(value := entry.get(name), str)}
    if len(public) < len(members) or (kty == "RSA" and len(public["n"]) * 6 < MIN_RSA_BITS):
        return
    try:
        key = cls.import_key({"kty": kty, **public})
    except (JoseError, ValueError, TypeError) as error:
        log.warning("a key of a JWK set is left out", extra={"kid": str(kid)[:80], "error": str(error)[:200]})
        return
    curve = public.get("crv")
    yield _Signer(key, kid if isinstance(kid, str) else None, kty, curve, alg if isinstance(alg, str) else None)


class FixedKeys:
    """Keys of a file."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    async def pick(self, kid: str | None, alg: str) -> Key | None:
        return self._keys.pick(kid, alg)


Fetch = Callable[[str], Awaitable[bytes]]


class RemoteKeys:
    """Keys behind a URL. One fetch at a time, however many wait; failures back off; nothing runs but a fetch.

    The first callers wait for the first fetch. After FRESH_MS the keys are fetched anew while those at hand serve; a key id that
    is unknown is worth one fetch, but no more than one per AGAIN_MS for all tokens together.
    """

    def __init__(self, url: str, clock: Clock, fetch: Fetch) -> None:
        self._url, self._clock, self._fetch = url, clock, fetch
        self._keys: KeySet | None = None
        self._fetched_ms = self._asked_ms = self._wait_ms = 0
        self._failures = 0
        self._fetching: asyncio.Task[bool] | None = None

    async def pick(self, kid: str | None, alg: str) -> Key | None:
        """Raises KeysUnavailable."""
        keys = await self._current()
        if keys.has(kid) or not await self._refreshed():
            return keys.pick(kid, alg)
        assert self._keys is not None, "a fetch that succeeded left keys"
        return self._keys.pick(kid, alg)

    async def _current(self) -> KeySet:
        age_ms = self._clock.now_ms() - self._fetched_ms
        if (self._keys is None or age_ms >= STALE_MS) and not await self._refreshed():
            raise KeysUnavailable(f"the keys of {self._url} cannot be fetched")
        if age_ms >= FRESH_MS:
            self._start()
        assert self._keys is not None, "a fetch that succeeded left keys"
        return self._keys

    async def _refreshed(self) -> bool:
        """Whether a fetch was due and succeeded. A caller that gives up leaves the fetch to the others."""
        fetching = self._start()
        return fetching is not None and await asyncio.shield(fetching)

    def _start(self) -> asyncio.Task[bool] | None:
        """The fetch that is under way; else a new one, if it is time for one."""
        if self._fetching is not None and not self._fetching.done():
            return self._fetching
        now_ms = self._clock.now_ms()
        if self._asked_ms <= now_ms < self._asked_ms + self._wait_ms:
            return None
        self._asked_ms = now_ms
        self._fetching = asyncio.get_running_loop().create_task(self._run(now_ms))
        return self._fetching

    async def _run(self, now_ms: int) -> bool:
        try:
            async with asyncio.timeout(FETCH_SECONDS):
                self._keys = parse_jwks(await self._fetch(self._url))
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # TimeoutError is an OSError
            self._failures += 1
            self._wait_ms = min(1000 * 2 ** min(self._failures, 20), MAX_BACK_OFF_MS)
            log.warning("keys cannot be fetched", extra={"url": self._url, "error": f"{type(error).__name__}: {error}"[:300]})
            return False
        self._failures, self._fetched_ms, self._wait_ms = 0, now_ms, AGAIN_MS
        return True


# A reload must not forget keys that a provider which is down cannot give again. Entries live as long as a policy that has them.
_known: WeakValueDictionary[str, RemoteKeys] = WeakValueDictionary()


def remote_keys(url: str, clock: Clock) -> RemoteKeys:
    """The keys behind `url`, shared with the policy in force. Builds a TLS context: call it off the event loop."""
    known = _known.get(url)
    if known is None:
        known = _known[url] = RemoteKeys(url, clock, _over_http(ssl.create_default_context()))
    return known


def _over_http(context: ssl.SSLContext) -> Fetch:
    async def fetch(url: str) -> bytes:
        """Raises httpx.HTTPError and ValueError. Redirects are not followed: the policy names the place that is trusted."""
        client = httpx.AsyncClient(verify=context, timeout=FETCH_SECONDS)
        async with client, client.stream("GET", url, headers=_PLAIN) as got:
            if got.status_code != 200:
                raise ValueError(f"status {got.status_code}")
            return await _limited(got)

    return fetch


async def _limited(response: httpx.Response) -> bytes:
    content = b""
    async for chunk in response.aiter_raw():
        content += chunk
        if len(content) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES} bytes")
    return content
