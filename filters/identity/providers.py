"""From a policy's identity provider to the source that knows its tokens; what is wrong is reported at its line."""

from urllib.parse import urlsplit

from headrace.ext_proc.engine.policy.lines import read_bytes
from headrace.ext_proc.engine.policy.models import Jwt
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.registry import Build
from headrace.filters.identity.jwks import MAX_BYTES, FixedKeys, parse_jwks, remote_keys
from headrace.filters.identity.tokens import Keys, Tokens

# Keys fetched in the clear could be exchanged on the way, and with them everybody's identity.
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def tokens_of(jwt: Jwt, where: Where, build: Build) -> Tokens | None:
    """None where its keys cannot be had."""
    keys = _remote(jwt.jwks, where, build) if "://" in jwt.jwks else _fixed(jwt.jwks, where, build)
    return Tokens(jwt, keys, build.ports.clock) if keys is not None else None


def _remote(url: str, where: Where, build: Build) -> Keys | None:
    try:
        parts = urlsplit(url)
        usable = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
        usable = usable and bool(parts.hostname) and parts.port != 0 and url.isprintable()
    except ValueError:
        usable = False
    if not usable:
        build.problem(where, f"{url!r} is not an https:// URL (http:// is for this machine only)")
        return None
    return remote_keys(url, build.ports.clock)


def _fixed(name: str, where: Where, build: Build) -> Keys | None:
    path = build.file(where, name)
    if path is None:
        return None
    try:
        return FixedKeys(parse_jwks(read_bytes(path, MAX_BYTES)))
    except ValueError as error:
        build.problem(where, f"{path} is {error}")
        return None
