"""Keys behind a URL: fetched once for all, kept, fetched anew, and never in the way."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from headrace.filters.identity.jwks import (
    AGAIN_MS,
    FRESH_MS,
    MAX_BACK_OFF_MS,
    MAX_BYTES,
    STALE_MS,
    KeysUnavailable,
    RemoteKeys,
    _over_http,
    remote_keys,
)
from tests.filters.compiled import ManualClock
from tests.filters.identity.tokens import EC, RSA, jwks


class Provider:
    """Answers fetches with `content`, or raises it; waits for `gate` first."""

    def __init__(self) -> None:
        self.content: bytes | Exception = jwks(RSA)
        self.fetches = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.clock = ManualClock()
        self.keys = RemoteKeys("https://idp/jwks", self.clock, self.fetch)

    async def fetch(self, url: str) -> bytes:
        self.fetches += 1
        await self.gate.wait()
        if isinstance(self.content, Exception):
            raise self.content
        return self.content

    async def knows(self, kid: str = "rsa", alg: str = "RS256") -> bool:
        return await self.keys.pick(kid, alg) is not None


async def settled() -> None:
    """What is ready to run has run."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_keys_are_fetched_once_for_everybody_who_waits() -> None:
    provider = Provider()
    provider.gate.clear()
    waiting = [asyncio.ensure_future(provider.knows()) for _ in range(50)]
    await settled()
    provider.gate.set()
    assert await asyncio.gather(*waiting) == [True] * 50
    assert provider.fetches == 1


async def test_nothing_is_fetched_before_a_token_asks() -> None:
    provider = Provider()
    await settled()
    assert provider.fetches == 0


async def test_a_caller_that_gives_up_leaves_the_fetch_to_the_others() -> None:
    provider = Provider()
    provider.gate.clear()
    gone, patient = asyncio.ensure_future(provider.knows()), asyncio.ensure_future(provider.knows())
    await settled()
    gone.cancel()
    with suppress(asyncio.CancelledError):
        await gone
    provider.gate.set()
    assert await patient
    assert provider.fetches == 1


async def test_old_keys_serve_while_new_ones_are_fetched() -> None:
    provider = Provider()
    assert await provider.knows()
    provider.clock.now += FRESH_MS
    provider.gate.clear()
    assert await provider.knows()  # does not wait
    await settled()
    assert provider.fetches == 2
    provider.gate.set()


async def test_a_provider_that_is_down_is_believed_for_a_day() -> None:
    provider = Provider()
    assert await provider.knows()
    provider.content = OSError("down")
    provider.clock.now += STALE_MS - 1
    assert await provider.knows()
    await settled()
    provider.clock.now += MAX_BACK_OFF_MS
    with pytest.raises(KeysUnavailable):
        await provider.knows()


async def test_an_unknown_key_id_is_worth_one_fetch_in_a_while() -> None:
    provider = Provider()
    assert await provider.knows()
    assert not await provider.knows("unknown") and provider.fetches == 1  # just fetched
    provider.clock.now += AGAIN_MS
    provider.content = jwks(RSA, EC)
    assert await provider.knows("ec", "ES256")
    for kid in map(str, range(100)):
        assert not await provider.knows(kid)
    assert provider.fetches == 2


async def test_known_keys_do_not_wait_for_a_fetch_that_an_unknown_one_started() -> None:
    provider = Provider()
    assert await provider.knows()
    provider.clock.now += AGAIN_MS
    provider.gate.clear()
    waiting = asyncio.ensure_future(provider.knows("unknown"))
    await settled()
    assert await provider.knows()
    provider.gate.set()
    assert not await waiting


@pytest.mark.parametrize("failure", [OSError("no route"), ValueError("status 500"), TimeoutError(), b"{", b'{"keys": []}'])
async def test_failures_back_off_and_end(failure: bytes | Exception) -> None:
    provider = Provider()
    good, provider.content = provider.content, failure
    for fetches, wait in ((1, 2000), (2, 4000), (3, 8000)):
        for _ in range(5):
            with pytest.raises(KeysUnavailable):
                await provider.knows()
        assert provider.fetches == fetches
        provider.clock.now += wait
    provider.content = good
    assert await provider.knows()


async def test_the_wait_after_many_failures_has_a_limit() -> None:
    provider = Provider()
    provider.content = OSError()
    for _ in range(100):
        with pytest.raises(KeysUnavailable):
            await provider.knows()
        provider.clock.now += MAX_BACK_OFF_MS
    assert provider.fetches == 100


async def test_a_clock_that_goes_back_does_not_end_fetching() -> None:
    provider = Provider()
    provider.content = OSError()
    with pytest.raises(KeysUnavailable):
        await provider.knows()
    provider.clock.now -= 86_400_000
    provider.content = jwks(RSA)
    assert await provider.knows()


def test_a_reload_keeps_the_keys_of_the_policy_in_force() -> None:
    one = remote_keys("https://idp.example/jwks", ManualClock())
    assert remote_keys("https://idp.example/jwks", ManualClock()) is one
    assert remote_keys("https://other.example/jwks", ManualClock()) is not one


Answering = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(head: bytes, content: bytes) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 " + head + b"\r\nconnection: close\r\n\r\n" + content)
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listening = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with listening:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/jwks.json"


async def fetched(head: bytes, content: bytes) -> bytes:
    async with server(head, content) as url:
        return await _over_http(ssl.create_default_context())(url)


async def test_a_document_is_fetched_over_http() -> None:
    assert await fetched(b"200 OK", jwks()) == jwks()


@pytest.mark.parametrize("head", [b"404 Not Found", b"500 Oops", b"301 Moved\r\nlocation: http://127.0.0.1:1/", b"204 No Content"])
async def test_an_answer_that_is_no_document_is_a_failure(head: bytes) -> None:
    with pytest.raises(ValueError, match="status"):
        await fetched(head, b"")


async def test_a_huge_document_is_dropped_on_the_way() -> None:
    with pytest.raises(ValueError, match="larger than"):
        await fetched(b"200 OK", b" " * (MAX_BYTES + 1))


async def test_a_compressed_document_is_no_json() -> None:
    assert (await fetched(b"200 OK\r\ncontent-encoding: gzip", b"\x1f\x8b")).startswith(b"\x1f")
