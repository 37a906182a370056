"""A connection that carries everybody's calls, before servers that do what Redis does not."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hiredis import pack_command
from redis.asyncio.connection import parse_url
from redis.exceptions import ResponseError

from headrace.ext_proc.core.ports import NeverSent, StoreUnavailable
from headrace.ext_proc.stores.link import ConnectionLost, Link
from headrace.ext_proc.stores.nodes import Copies, OneServer
from headrace.ext_proc.stores.url import link_to

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
PING = pack_command(("PING",))


@asynccontextmanager
async def linked(tmp_path: Path, serve: Serve, timeout_s: float = 30.0) -> Any:
    """A link to a server that leaves each connection to `serve`."""
    done: list[asyncio.Task[None]] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        done.append(asyncio.current_task())  # type: ignore[arg-type]  # it is one
        with suppress(asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            await serve(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(served, tmp_path / "s", limit=1 << 24)
    link: Link = link_to(parse_url(f"unix://{tmp_path / 's'}"), timeout_s=timeout_s)
    try:
        yield link
    finally:
        await link.close()
        for task in done:
            task.cancel()
        await asyncio.gather(*done, return_exceptions=True)
        server.close()
        await server.wait_closed()


def answers(*replies: bytes) -> Serve:
    """One reply for each PING, whatever it is; the last one for all further ones."""
    given = list(replies)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"PING\r\n"):
            writer.write(given.pop(0) if len(given) > 1 else given[0])

    return serve


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"?what\r\n", "no reply"),
        (b"-LOADING Valkey is loading the dataset in memory\r\n", "loading"),
    ],
    ids=["no RESP", "a server that is loading"],
)
async def test_a_connection_that_says_what_it_should_not_is_given_up_for_a_new_one(tmp_path: Path, reply: bytes, says: str) -> None:
    async with linked(tmp_path, answers(reply, b"+PONG\r\n")) as link:
        found = await asyncio.gather(link.call(PING), link.call(PING), return_exceptions=True)
        assert all(isinstance(one, ConnectionLost) and says in str(one) for one in found)
        assert await link.call(PING) == b"PONG"


async def test_calls_that_fail_together_fail_each_by_itself(tmp_path: Path) -> None:
    """An error that several raise has the frames of the last one."""
    async with linked(tmp_path, answers(b"?what\r\n")) as link:
        one, other = await asyncio.gather(*[link.call(PING) for _ in range(2)], return_exceptions=True)
        assert (type(one), str(one)) == (type(other), str(other))
        assert one is not other


async def test_a_connection_that_answers_what_was_not_asked_is_given_up(tmp_path: Path) -> None:
    async with linked(tmp_path, answers(b"+1\r\n+2\r\n", b"+3\r\n")) as link:
        assert await link.call(PING) == b"1"
        assert link._life is not None
        await asyncio.wait([link._life])
        assert await link.call(PING) == b"3"


async def test_an_error_that_is_a_calls_own_is_given_to_it_alone(tmp_path: Path) -> None:
    async with linked(tmp_path, answers(b"-ERR no such thing\r\n", b"+PONG\r\n")) as link:
        calls = [link.call(PING), link.call(PING)]
        with pytest.raises(ResponseError, match="no such thing"):
            await calls[0]
        assert await calls[1] == b"PONG"


async def test_calls_gather_before_a_server_that_does_not_read_and_all_are_answered_when_it_does(tmp_path: Path) -> None:
    reads = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reads.wait()
        while await reader.readuntil(b"PING\r\n"):
            writer.write(b"+PONG\r\n")

    async with linked(tmp_path, serve) as link:
        large = b"*2\r\n$1000000\r\n%s\r\n" % (b"x" * 1_000_000) + b"$4\r\nPING\r\n"
        calls = []
        while link._line is None or link._line.is_writable:
            calls.append(link.call(large))
            await asyncio.sleep(0)
        calls += [link.call(PING) for _ in range(100)]
        await asyncio.sleep(0)
        assert len(link._unsent) == 100
        reads.set()
        assert await asyncio.gather(*calls) == [b"PONG"] * len(calls)


async def test_a_call_whose_caller_gave_up_before_it_was_written_is_not_sent(tmp_path: Path) -> None:
    async with linked(tmp_path, answers(b"+1\r\n", b"+2\r\n")) as link:
        assert await link.call(PING) == b"1"
        link.call(PING).cancel()
        assert await link.call(PING) == b"2"


async def test_a_server_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with linked(tmp_path, serve, timeout_s=0.05) as link:
        with pytest.raises(StoreUnavailable, match="did not answer"):
            await link.call(PING)


async def test_after_a_silence_calls_are_refused_at_once_and_one_has_a_new_connection_soon(tmp_path: Path) -> None:
    """A caller who makes two calls, one after the other, waits for a server that hangs once."""
    silent, asked = True, 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.readuntil(b"PING\r\n"):
            asked += 1
            writer.write(b"" if silent else b"+PONG\r\n")

    async with linked(tmp_path, serve, timeout_s=0.05) as link:
        with pytest.raises(StoreUnavailable, match="did not answer") as sent:
            await link.call(PING)
        with pytest.raises(NeverSent, match="did not answer"):
            link.call(PING)
        assert asked == 1 and not isinstance(sent.value, NeverSent)
        silent = False
        assert await _eventually(link) == b"PONG"


async def _eventually(link: Link) -> object:
    async with asyncio.timeout(30.0):
        while True:
            try:
                return await link.call(PING)
            except StoreUnavailable:
                await asyncio.sleep(0.01)


class _Broken(Link):
    """Its connection breaks under the first call; nobody answers the second, or it fails."""

    def __init__(self, second: StoreUnavailable | None = None) -> None:
        self._errors = [ConnectionLost("it broke"), second]
        self.calls = 0

    def call(self, command: bytes) -> asyncio.Future[object]:
        future: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if (error := self._errors[self.calls]) is not None:
            future.set_exception(error)
        self.calls += 1
        return future


async def test_a_call_that_finds_no_server_was_never_sent(tmp_path: Path) -> None:
    link = link_to(parse_url(f"unix://{tmp_path / 'nobody'}"), timeout_s=5)
    server = OneServer(link, Copies(), timeout_s=5)
    for _ in range(2):  # the second one at once, without looking for it again
        with pytest.raises(NeverSent, match="cannot connect"):
            await server.call("key", PING)
    await server.close()


async def test_a_call_that_was_sent_once_was_sent_also_where_its_repetition_was_not() -> None:
    with pytest.raises(StoreUnavailable, match="gone") as caught:
        await OneServer(_Broken(NeverSent("gone")), Copies(), timeout_s=30).call("key", PING)
    assert not isinstance(caught.value, NeverSent)


async def test_a_write_whose_copies_nobody_was_asked_for_may_be_there() -> None:
    with pytest.raises(StoreUnavailable, match="full") as caught:
        await OneServer(_Half(), Copies(1, 1), timeout_s=30).call("key", PING)
    assert not isinstance(caught.value, NeverSent)


class _Half(Link):
    """Takes one call, and no other."""

    def __init__(self) -> None:
        self._is_full = False

    def call(self, command: bytes) -> asyncio.Future[object]:
        if self._is_full:
            raise NeverSent("it is full")
        self._is_full = True
        return asyncio.get_running_loop().create_future()


async def test_a_call_that_is_repeated_has_no_longer_for_it_than_one_that_is_not() -> None:
    link = _Broken()
    server = OneServer(link, Copies(), timeout_s=0.05)
    with pytest.raises(StoreUnavailable, match="it broke, and within"):
        await server.call("key", PING)
    assert link.calls == 2


def test_a_call_to_a_connection_that_is_being_closed_is_told_so_and_nothing_else_is(tmp_path: Path) -> None:
    told: list[object] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with linked(tmp_path, answers(b"+1\r\n")) as link:
            assert await link.call(PING) == b"1"
            link._line._transport.abort()
            with pytest.raises(ConnectionLost):
                await link.call(PING)
            assert await link.call(PING) == b"1"

    uvloop.run(main())
    assert told == []
