"""A service that speaks HTTP/2 frame by frame: it answers well, and says whatever else a test has it say."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from headrace.ext_proc.core.events import Reading
from headrace.ext_proc.envoy.codec import MODES, headers_answer
from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.errors import ConnectionFault
from headrace.ext_proc.envoy.h2.frames import PREFACE, Flag, Frame, FrameReader, Kind, Setting
from headrace.ext_proc.envoy.h2.messages import MessageReader, framed
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from tests.envoy.h2.wire import block
from tests.transcripts.site import WAIT

WINDOW = 65_535
"""Of a connection, and of a stream unless the settings say otherwise."""

GREETING = frames.settings({})
STATUS_200 = ((":status", "200"), ("content-type", "application/grpc"))


def head(stream: int = 1, *pairs: tuple[str, str], flags: int = Flag.END_HEADERS) -> bytes:
    """pairs: instead of those of a good answer."""
    return frames.frame(Kind.HEADERS, flags, stream, block(*(pairs or STATUS_200)))


def trailers(stream: int = 1, *pairs: tuple[str, str]) -> bytes:
    return head(stream, *(pairs or (("grpc-status", "0"),)), flags=Flag.END_HEADERS | Flag.END_STREAM)


def data(payload: bytes, stream: int = 1, flags: int = 0) -> bytes:
    return frames.frame(Kind.DATA, flags, stream, payload)


def message(response: pb.ProcessingResponse) -> bytes:
    return framed(response.SerializeToString())


def to_headers() -> pb.ProcessingResponse:
    response = pb.ProcessingResponse()
    response.request_headers.SetInParent()
    return response


def to_body(settle: str = "") -> pb.ProcessingResponse:
    """The request goes on with the header `x-checked`. settle: "stream" for an answer that the service wants to read."""
    response = pb.ProcessingResponse()
    option = response.request_body.response.header_mutation.set_headers.add()
    option.header.key, option.header.raw_value = "x-checked", b"yes"
    response.dynamic_metadata.fields["headrace"].struct_value.fields["exchange"].string_value = "e1"
    if settle:
        response.dynamic_metadata.fields["headrace"].struct_value.fields["settle"].string_value = settle
    return response


def to_answer(reading: Reading) -> pb.ProcessingResponse:
    response = headers_answer()
    response.mode_override.CopyFrom(MODES[reading])
    return response


def to_chunk(body: bytes, *, end: bool = False) -> pb.ProcessingResponse:
    response = pb.ProcessingResponse()
    streamed = response.response_body.response.body_mutation.streamed_response
    streamed.body, streamed.end_of_stream = body, end
    return response


class Gone(Exception):
    """The plugin has closed the connection."""


@dataclass
class Wire:
    """One connection of the plugin's. Every DATA frame of its is held against the windows it was given."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[Frame] = field(default_factory=list)
    window: int = WINDOW
    windows: dict[int, int] = field(default_factory=dict)
    first_window: int = WINDOW
    _frames: FrameReader = field(default_factory=FrameReader)
    _messages: MessageReader = field(default_factory=MessageReader)
    _waiting: list[pb.ProcessingRequest] = field(default_factory=list)
    _greeted: bytes = b""
    _announced: list[int] = field(default_factory=list)

    def say(self, *said: bytes) -> None:
        self.writer.write(b"".join(said))

    def narrow(self, size: int) -> None:
        """Sets what a stream may send before it is granted more. It counts once the plugin has acknowledged it."""
        self._announced.append(size)
        self.say(setting(Setting.INITIAL_WINDOW_SIZE, size))

    def _acknowledged(self) -> None:
        if self._announced:
            size = self._announced.pop(0)
            self.windows = {stream: left + size - self.first_window for stream, left in self.windows.items()}
            self.first_window = size

    def widen(self, more: int, *streams: int) -> None:
        """Lets the plugin send so much more, on the connection and on streams."""
        self.window += more
        self.say(frames.window_update(0, more))
        for stream in streams:
            self.windows[stream] = self.windows.get(stream, self.first_window) + more
            self.say(frames.window_update(stream, more))

    async def message(self) -> pb.ProcessingRequest:
        """The plugin's next message. Raises Gone."""
        while not self._waiting:
            await self.listen()
        return self._waiting.pop(0)

    async def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The first frame of all that is wanted. Raises Gone."""
        while (found := next(filter(wanted, self.heard), None)) is None:
            await self.listen()
        return found

    async def listen(self) -> None:
        """Takes in what comes next. Raises Gone."""
        try:
            said = await self.reader.read(1 << 16)
        except ConnectionError as error:
            raise Gone from error
        if not said:
            raise Gone
        for frame in self._frames.feed(self._after_preface(said)):
            self._take(frame)

    async def gone(self) -> None:
        """Returns when the plugin has closed the connection."""
        with contextlib.suppress(Gone):
            while True:
                await self.listen()

    def _after_preface(self, said: bytes) -> bytes:
        missing = len(PREFACE) - len(self._greeted)
        self._greeted += said[:missing]
        assert PREFACE.startswith(self._greeted)
        return said[missing:]

    def _take(self, frame: Frame) -> None:
        self.heard.append(frame)
        if frame.kind == Kind.SETTINGS and frame.flags & Flag.ACK:
            self._acknowledged()
        if frame.kind == Kind.DATA and frame.payload:
            self.window -= len(frame.payload)
            self.windows[frame.stream] = self.windows.get(frame.stream, self.first_window) - len(frame.payload)
            assert self.window >= 0, "more than the connection's window"
            assert self.windows[frame.stream] >= 0, "more than the stream's window"
            self._waiting += [pb.ProcessingRequest.FromString(one) for one in self._messages.feed(frame.payload)]


Play = Callable[[Wire], Awaitable[None]]


@dataclass(frozen=True)
class Script:
    """What is said on the first stream: at once, to the request's headers, and to its body. stays: the connection is left open."""

    greeting: bytes = GREETING
    head: bytes = head()
    first: bytes = data(message(to_headers()))
    second: bytes = data(message(to_body()))
    end: bytes = trailers()
    stays: bool = True

    async def __call__(self, wire: Wire) -> None:
        wire.say(self.greeting)
        await wire.message()
        wire.say(self.head, self.first)
        await wire.message()
        wire.say(self.second, self.end)
        if self.stays:
            await wire.gone()


@dataclass
class RawPeer:
    """Plays `play` on every connection. wires: all that were made. faults: what the plugin did that HTTP/2 forbids."""

    play: Play = field(default_factory=Script)
    wires: list[Wire] = field(default_factory=list)
    faults: list[AssertionError | ConnectionFault] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer)
        self.wires.append(wire)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.play(wire)
        except (Gone, ConnectionError):
            return
        except asyncio.CancelledError:
            await _farewell(reader, writer)
        except (AssertionError, ConnectionFault) as error:
            self.faults.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def rest(self) -> None:
        """Closes every connection, forgets them, and goes back to answering well. Raises what the plugin did wrong."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)
        found, self.faults, self.play = self.faults, [], Script()
        self.wires.clear()
        if found:
            raise found[0]


async def _farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ends our side, and returns when the plugin has closed its own: until it has seen the end, nginx may send a request there.

    It would log that, and the plugin go on with another connection.
    """
    with contextlib.suppress(ConnectionError, TimeoutError):
        writer.write_eof()
        async with asyncio.timeout(WAIT):
            while await reader.read(1 << 16):
                pass


@contextlib.asynccontextmanager
async def raw_peer(path: Path | None) -> AsyncIterator[tuple[RawPeer, str]]:
    """Listens on a Unix socket, else on a port of loopback; the peer, and its address as the plugin is told it."""
    peer = RawPeer()
    if path is None:
        server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server, address = await asyncio.start_unix_server(peer.serve, str(path)), f"unix:{path}"
    try:
        yield peer, address
        await peer.rest()
    finally:
        server.close()


def setting(number: Setting | int, value: int) -> bytes:
    """A SETTINGS frame with one setting."""
    return frames.frame(Kind.SETTINGS, 0, 0, number.to_bytes(2, "big") + value.to_bytes(4, "big"))
