"""`python -m tests.bench.transport`: what the transports themselves cost a worker, without Envoy and without deciding anything.

One connection, from a client that writes frames by hand, to an echo in a process of its own; the echo's CPU time is what counts.
Calls are what Envoy makes for a JSON answer: two messages of 300 and 500 bytes, 32 calls at once. Events are what it sends of
streams that are inspected: 100 streams, 50 messages of 200 bytes each second on each of them, each written by itself.
"""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, cast

import typer
import uvloop
from hpack import Encoder

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.frames import Flag, Frame, FrameReader, Kind, Setting
from headrace.ext_proc.envoy.h2.messages import framed
from headrace.ext_proc.envoy.transport import Call, Transport, listen

from .processes import cpu_seconds, peak_mb, tied

PATH = "/bench.Echo/Echo"
MESSAGES = (framed(b"h" * 300), framed(b"b" * 500))
EVENT = framed(b"e" * 200)
AT_ONCE, STREAMS, EVENTS_PER_S = 32, 100, 50
WIDE = 2**31 - 1
REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", PATH),
    (":authority", "bench"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


async def echo(call: Call) -> None:
    """Ends after as many messages as a call has, unless the first is an event."""
    count = 0
    while (message := await call.read()) is not None:
        await call.write(message)
        count += message[:1] != b"e"
        if count == len(MESSAGES):
            return


async def serve(transport: str, address: str) -> None:
    """Until it is killed."""
    server = listen(Transport(transport), {PATH: echo}, address)
    await server.start()
    await asyncio.Event().wait()


class Client(asyncio.Protocol):
    """A connection that grants the server everything. arrived: by stream, set when it has said something."""

    def __init__(self) -> None:
        self.messages = 0
        self._reader = FrameReader()
        self._block = Encoder().encode([(name, value, True) for name, value in REQUEST], huffman=False)
        self._last = -1
        self._waiting: dict[int, asyncio.Future[None]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(
            frames.PREFACE
            + frames.settings({Setting.INITIAL_WINDOW_SIZE: WIDE})
            + frames.window_update(0, WIDE - 65_535)
            + self._opening(b"\x20")  # no dynamic table: whatever the server announces is kept
        )
        self.reset(self._last)

    def _opening(self, prefix: bytes = b"") -> bytes:
        self._last += 2
        return frames.frame(Kind.HEADERS, Flag.END_HEADERS, self._last, prefix + self._block)

    def open(self, data: bytes) -> int:
        """A new stream, with its first message."""
        opening = self._opening()
        self._transport.write(opening + frames.frame(Kind.DATA, 0, self._last, data))
        return self._last

    def say(self, stream: int, data: bytes, *, end: bool = False) -> None:
        self._transport.write(frames.frame(Kind.DATA, Flag.END_STREAM if end else 0, stream, data))

    def reset(self, stream: int) -> None:
        self._transport.write(frames.rst_stream(stream, ErrorCode.CANCEL))

    async def heard(self, stream: int) -> None:
        """Returns when the server says something on the stream, or has ended it."""
        self._waiting[stream] = asyncio.get_running_loop().create_future()
        await self._waiting[stream]

    def data_received(self, data: bytes) -> None:
        for frame in self._reader.feed(data):
            self._take(frame)

    def _take(self, frame: Frame) -> None:
        if frame.kind == Kind.DATA:
            self.messages += 1
        if frame.kind == Kind.DATA or (frame.flags & Flag.END_STREAM and frame.kind == Kind.HEADERS):
            if (waiting := self._waiting.pop(frame.stream, None)) is not None:
                waiting.set_result(None)
        elif frame.kind == Kind.SETTINGS and not frame.flags & Flag.ACK:
            self._transport.write(frames.SETTINGS_ACK)
        elif frame.kind == Kind.PING and not frame.flags & Flag.ACK:
            self._transport.write(frames.ping(frame.payload, ack=True))


@asynccontextmanager
async def serving(transport: Transport) -> AsyncIterator[tuple[int, Client]]:
    """The echo's process id, and a connection to it."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/echo.sock"
        command = tied(sys.executable, "-m", "tests.bench.transport", transport, f"unix:{path}")
        process = await asyncio.create_subprocess_exec(*command)
        while not Path(path).exists():  # noqa: ASYNC110, ASYNC240  another process makes it
            await asyncio.sleep(0.05)
        _, client = await asyncio.get_running_loop().create_unix_connection(Client, path)
        try:
            yield process.pid, client
        finally:
            process.kill()
            await process.wait()


async def calls(client: Client, count: int) -> None:
    """So many, AT_ONCE at a time."""

    async def some() -> None:
        for _ in range(count // AT_ONCE):
            stream = client.open(MESSAGES[0])
            await client.heard(stream)
            client.say(stream, MESSAGES[1], end=True)
            await client.heard(stream)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


async def events(client: Client, seconds: float) -> None:
    """On STREAMS streams, evenly over the time."""
    loop = asyncio.get_running_loop()
    streams = [client.open(EVENT) for _ in range(STREAMS)]
    start = loop.time()
    for number in range(int(seconds * EVENTS_PER_S) * STREAMS):
        client.say(streams[number % STREAMS], EVENT)
        if (early := start + number / (EVENTS_PER_S * STREAMS) - loop.time()) > 0:
            await asyncio.sleep(early)
    for stream in streams:
        client.reset(stream)


async def measure(transport: Transport, count: int, seconds: float) -> tuple[float, float, float]:
    """CPU µs per call, CPU µs per event, peak MiB."""
    async with serving(transport) as (pid, client):
        await calls(client, AT_ONCE * 20)
        before = cpu_seconds(pid)
        await calls(client, count)
        between, heard = cpu_seconds(pid), client.messages
        await events(client, seconds)
        per_event = (cpu_seconds(pid) - between) / max(client.messages - heard, 1)
        return (between - before) / count * 1e6, per_event * 1e6, peak_mb(pid)


def main(
    count: Annotated[int, typer.Option(min=AT_ONCE, help="calls")] = 20_000,
    seconds: Annotated[float, typer.Option(min=0.1, help="of streams")] = 10,
) -> None:
    """Measure both transports, one after the other."""
    for transport in Transport:
        per_call, per_event, peak = uvloop.run(measure(transport, count, seconds))
        print(f"{transport}: {per_call:.0f} µs of CPU per call, {per_event:.1f} per event, {peak:.0f} MiB")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in list(Transport):
        uvloop.run(serve(*sys.argv[1:]))
    else:
        typer.run(main)
