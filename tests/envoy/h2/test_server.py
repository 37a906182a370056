"""The server on a real socket: how calls end, what slow and hostile peers are given, how it drains."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from headrace.ext_proc.envoy.h2 import calls, frames, limits, protocol, server
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.frames import Kind, Setting
from headrace.ext_proc.envoy.h2.messages import framed
from headrace.ext_proc.envoy.h2.protocol import WRITE_HIGH
from headrace.ext_proc.envoy.h2.server import H2Server
from headrace.ext_proc.envoy.transport import Aborted, Call, Status
from tests.e2e.envoy_process import short_directory
from tests.envoy.h2.served import MIB, PATH, echo, never, served
from tests.envoy.h2.wire import code_of, data
from tests.garbage import no_garbage
from tests.transcripts.site import WAIT, until


async def test_a_call_of_one_message_is_echoed_and_ends() -> None:
    async with served() as run, run.speaker() as peer:
        peer.call(1)
        peer.say(data(1, framed(b"hello"), end=True))
        assert await peer.message(1) == b"hello"
        assert await peer.status(1) == (Status.OK, "")


async def test_an_unknown_method_is_unimplemented() -> None:
    async with served() as run, run.speaker() as peer:
        peer.call(1, path="/no.Such/Method")
        assert (await peer.status(1))[0] is Status.UNIMPLEMENTED


async def test_a_compressed_message_is_unimplemented() -> None:
    async with served() as run, grpc.aio.insecure_channel(f"127.0.0.1:{run.server.port}") as channel:
        call: Any = channel.unary_unary(PATH)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"x" * 10_000, timeout=WAIT, compression=grpc.Compression.Gzip)
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_call_that_ends_in_the_middle_of_a_message_is_an_error() -> None:
    async with served() as run, run.speaker() as peer:
        peer.call(1)
        peer.say(data(1, framed(b"hello")[:-1], end=True))
        assert (await peer.status(1))[0] is Status.INTERNAL


async def test_a_deadline_ends_the_call() -> None:
    async with served(never) as run, run.speaker() as peer:
        peer.call(1, ("grpc-timeout", "20m"))
        assert (await peer.status(1))[0] is Status.DEADLINE_EXCEEDED


async def test_a_call_within_its_deadline_is_left_alone() -> None:
    async with served() as run, run.speaker() as peer:
        peer.call(1, ("grpc-timeout", "1H"))
        peer.say(data(1, framed(b"x"), end=True))
        assert (await peer.status(1))[0] is Status.OK


async def test_the_answers_of_one_turn_leave_in_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served() as run, run.speaker() as peer:
        peer.call(1)
        peer.say(data(1, framed(b"x")))
        await peer.message(1)
        (line,) = run.server._lines.open
        writes: list[int] = []
        write = line._transport.write
        monkeypatch.setattr(line, "_transport", Recorded(write, writes))
        for stream in range(3, 43, 2):
            peer.call(stream)
            peer.say(data(stream, framed(b"x"), end=True))
        for stream in range(3, 43, 2):
            await peer.status(stream)
        assert len(writes) < 20  # as many as reads: the kernel may cut what the peer has written in one go


class Recorded:
    """A transport whose writes are noted."""

    def __init__(self, write: Any, writes: list[int]) -> None:
        self._write = write
        self._writes = writes

    def write(self, data: bytes) -> None:
        self._writes.append(len(data))
        self._write(data)

    def close(self) -> None:
        raise AssertionError("nobody closes it")


# --- what is left of a call -----------------------------------------------------------------------------------------------------


async def _reads(call: Call) -> None:
    while (message := await call.read()) is not None:
        await call.write(message)
    raise Aborted(Status.CANCELLED, "the peer ended first")


WAYS = {
    "the peer resets it": frames.rst_stream(1, ErrorCode.CANCEL),
    "the handler gives up": data(1, framed(b"x"), end=True),
    "it is late": b"",
    "half a message": data(1, framed(b"x")[:-1], end=True),
    "the connection is at fault": frames.frame(Kind.PING, 0, 0, b"short"),
}


@pytest.mark.parametrize("way", WAYS)
async def test_nothing_of_a_call_is_left_to_the_garbage_collector(way: str) -> None:
    async with served(_reads) as run, run.speaker() as peer:
        with no_garbage():
            peer.call(1, *([("grpc-timeout", "20m")] if way == "it is late" else []))
            peer.say(data(1, framed(b"x")))
            assert await peer.message(1) == b"x"
            peer.say(WAYS[way])
            await until(lambda: run.load == (0, 0), "the call has ended")


# --- slow peers -------------------------------------------------------------------------------------------------------------------


async def talks(call: Call) -> None:
    """Says 100 MiB."""
    for _ in range(100):
        await call.write(b"x" * MIB)


async def test_a_handler_waits_for_a_peer_whose_window_is_used_up() -> None:
    async with served(talks) as run, run.speaker() as peer:
        peer.call(1)
        await until(lambda: run.load[1] > 0, "something is held back")
        await peer.until(lambda frame: frame.kind == Kind.DATA)
        assert run.load == (1, MIB + 5 - 65_535)
        peer.say(frames.window_update(0, 2**30), frames.window_update(1, 2**30))
        assert await peer.status(1) == (Status.OK, "")


async def test_what_a_handler_left_to_be_sent_is_held_until_it_has_gone() -> None:
    async with served() as run, run.speaker({Setting.INITIAL_WINDOW_SIZE: 10}) as peer:
        peer.call(1)
        peer.say(data(1, framed(b"x" * 100), end=True))
        await until(lambda: run.load == (1, 95), "the answer waits for the peer")
        peer.say(frames.window_update(1, 95))
        assert await peer.status(1) == (Status.OK, "")
        assert run.load == (0, 0)


async def test_a_stream_that_is_never_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "STALL_S", 0.05)
    async with served(talks) as run, run.speaker() as peer:
        peer.call(1)
        assert await peer.reset(1) == ErrorCode.CANCEL
        await until(lambda: run.load == (0, 0), "nothing is held")


async def test_nothing_is_read_from_a_peer_that_does_not_read() -> None:
    async with served(talks) as run, run.speaker({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}) as peer:
        peer.say(frames.window_update(0, 2**30))
        peer.call(1)
        await until(lambda: any(line.writable for line in run.server._lines.open), "the server waits")
        (line,) = run.server._lines.open
        assert line._transport.get_write_buffer_size() < WRITE_HIGH + MIB + 1_000
        assert await peer.status(1) == (Status.OK, "")


async def test_a_peer_that_never_reads_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "STALL_S", 0.05)
    async with served(talks) as run, run.speaker({Setting.INITIAL_WINDOW_SIZE: 2**31 - 1}) as peer:
        peer.say(frames.window_update(0, 2**30))
        peer.call(1)
        await until(lambda: bool(run.server._lines.open), "it is connected")
        await until(lambda: not run.server._lines.open, "the connection is closed")


async def test_a_peer_that_does_not_introduce_itself_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HANDSHAKE_S", 0.05)
    async with served() as run, run.speaker(greets=False) as peer:
        peer.say(frames.PREFACE[:10])
        await peer.closed()


async def test_unread_messages_hold_back_their_stream_and_no_other() -> None:
    gate = asyncio.Event()

    async def slow(call: Call) -> None:
        if await call.read() == b"slow":
            await gate.wait()
            while await call.read() is not None:
                pass
        await echo(call)

    async with served(slow) as run, run.speaker() as peer:
        for stream, first in ((1, b"slow"), (3, b"quick")):
            peer.call(stream)
            peer.say(data(stream, framed(first)))
        big = framed(b"x" * 10_000)
        for _ in range(100):
            peer.say(data(1, big))
        await until(lambda: run.load[1] >= 1_000_000, "they are held")
        peer.say(data(3, framed(b"hello"), end=True))
        assert await peer.message(3) == b"hello"
        assert not [frame for frame in peer.heard if frame.kind == Kind.WINDOW_UPDATE and frame.stream == 1]
        gate.set()
        update = await peer.until(lambda frame: frame.kind == Kind.WINDOW_UPDATE and frame.stream == 1)
        assert int.from_bytes(update.payload, "big") >= limits.STREAM_WINDOW // 2
        peer.say(frames.rst_stream(1, ErrorCode.CANCEL))


# --- too much --------------------------------------------------------------------------------------------------------------------


async def test_a_worker_that_holds_too_much_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HELD", MIB)
    async with served() as run, run.speaker() as peer:
        peer.call(1)
        for _ in range(66):  # of one message of 2 MiB
            peer.say(data(1, b"\0\0\x20\0\0" + b"x" * 16_000))
        assert await peer.reset(1) == ErrorCode.ENHANCE_YOUR_CALM
        peer.call(3)
        peer.say(data(3, framed(b"small"), end=True))
        assert await peer.message(3) == b"small"


async def test_a_call_too_many_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CALLS", 1)
    async with served(never) as run, run.speaker() as peer, run.speaker() as other:
        peer.call(1)
        await until(lambda: run.load[0] == 1, "the first is taken")
        other.call(1)
        assert await other.reset(1) == ErrorCode.REFUSED_STREAM


async def test_a_connection_too_many_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    async with served() as run, run.speaker() as first:
        await first.until(lambda frame: frame.kind == Kind.SETTINGS)
        async with run.speaker() as second:
            await second.closed()
            assert second.heard == []


async def test_a_fault_of_the_peers_ends_its_calls_and_says_why() -> None:
    async with served(never) as run, run.speaker() as peer:
        peer.call(1)
        await until(lambda: run.load[0] == 1, "the call is taken")
        peer.say(frames.frame(Kind.PING, 0, 0, b"short"))
        goaway = await peer.until(lambda frame: frame.kind == Kind.GOAWAY)
        assert code_of(goaway) == ErrorCode.FRAME_SIZE_ERROR
        assert b"eight bytes" in goaway.payload
        await peer.closed()
        await until(lambda: run.load == (0, 0), "its calls have ended")


# --- the end ----------------------------------------------------------------------------------------------------------------------


async def test_a_drain_lets_calls_end_and_refuses_new_connections() -> None:
    async with served() as run, run.speaker() as peer:
        peer.call(1)
        peer.say(data(1, framed(b"x")))
        await peer.message(1)
        stopping = asyncio.create_task(run.server.stop(WAIT))
        ping = await peer.until(lambda frame: frame.kind == Kind.PING)
        peer.say(frames.ping(ping.payload, ack=True), data(1, framed(b"y"), end=True))
        assert await peer.message(1) == b"y"
        assert await peer.status(1) == (Status.OK, "")
        await peer.closed()
        await stopping
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", run.server.port)


async def test_calls_that_outlast_the_grace_hear_that_the_service_stops() -> None:
    async with served(never) as run, run.speaker() as peer:
        peer.call(1)
        await until(lambda: run.load[0] == 1, "the call is taken")
        long = asyncio.create_task(run.server.stop(WAIT))
        await run.server.stop(0)
        assert (await peer.status(1))[0] is Status.UNAVAILABLE
        await peer.closed()
        await long


async def test_a_connection_that_has_not_introduced_itself_does_not_hold_up_the_end() -> None:
    async with served() as run, run.speaker(greets=False) as peer:
        await peer.until(lambda frame: frame.kind == Kind.SETTINGS)
        await run.server.stop(WAIT)
        await peer.closed()


async def test_a_socket_goes_with_its_server_and_another_ones_does_not() -> None:
    with short_directory() as folder:
        path = folder / "w.sock"
        first = H2Server({}, f"unix:{path}")
        assert path.is_socket()
        await first.stop(0)
        assert not _there(path)
        second = H2Server({}, f"unix:{path}")
        path.unlink()
        third = H2Server({}, f"unix:{path}")
        await second.stop(0)
        assert _there(path)
        await third.stop(0)


def _there(path: Path) -> bool:
    return path.exists()
