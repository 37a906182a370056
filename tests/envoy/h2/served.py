"""A server of echoing methods on a real socket, and a peer that speaks in frames over it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from hpack import Decoder

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.frames import Flag, Frame, FrameReader, Kind, Setting
from headrace.ext_proc.envoy.h2.messages import framed
from headrace.ext_proc.envoy.h2.server import H2Server
from headrace.ext_proc.envoy.transport import Call, Handler, Server, Status, Tls
from tests.envoy.h2.wire import REQUEST, block
from tests.transcripts.site import WAIT

PATH = "/a.B/C"
MIB = 1 << 20


async def echo(call: Call) -> None:
    """Every message, as it comes."""
    while (message := await call.read()) is not None:
        await call.write(message)


async def never(call: Call) -> None:
    """Reads nothing, and does not end by itself."""
    await asyncio.Event().wait()


@dataclass
class Speaker:
    """A connection to the server. heard: its frames that nobody has waited for yet."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    heard: list[Frame] = field(default_factory=list)
    _frames: FrameReader = field(default_factory=FrameReader)
    _decoder: Decoder = field(default_factory=Decoder)

    def say(self, *said: bytes) -> None:
        self.writer.write(b"".join(said))

    def call(self, stream: int, *more: tuple[str, str], path: str = PATH) -> None:
        pairs = [(name, path if name == ":path" else value) for name, value in REQUEST]
        self.say(frames.frame(Kind.HEADERS, Flag.END_HEADERS, stream, block(*pairs, *more)))

    async def until(self, wanted: Callable[[Frame], bool]) -> Frame:
        """The first frame of those not yet waited for that is wanted; those before it are passed over."""
        async with asyncio.timeout(WAIT):
            while True:
                while self.heard:
                    frame = self.heard.pop(0)
                    if wanted(frame):
                        return frame
                data = await self.reader.read(1 << 16)
                assert data, "the server closed the connection"
                self.heard += self._frames.feed(data)

    async def message(self, stream: int) -> bytes:
        """One message, in one frame."""
        frame = await self.until(lambda frame: frame.kind == Kind.DATA and frame.stream == stream)
        assert frame.payload == framed(frame.payload[5:])
        return frame.payload[5:]

    async def status(self, stream: int) -> tuple[Status, str]:
        """How the call ended."""
        fields: dict[str, str] = {}
        while "grpc-status" not in fields:
            frame = await self.until(lambda frame: frame.kind == Kind.HEADERS and frame.stream == stream)
            fields |= {str(name): str(value) for name, value in self._decoder.decode(frame.payload)}
        return Status(int(fields["grpc-status"])), fields.get("grpc-message", "")

    async def reset(self, stream: int) -> int:
        """The code with which the server took the stream back."""
        frame = await self.until(lambda frame: frame.kind == Kind.RST_STREAM and frame.stream == stream)
        return int.from_bytes(frame.payload, "big")

    async def closed(self) -> None:
        """Returns when the server has closed the connection."""
        async with asyncio.timeout(WAIT):
            try:
                while data := await self.reader.read(1 << 16):
                    self.heard += self._frames.feed(data)
            except ConnectionError:
                return


@dataclass
class Served:
    server: H2Server

    @asynccontextmanager
    async def speaker(self, settings: dict[Setting, int] | None = None, *, greets: bool = True) -> AsyncIterator[Speaker]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        speaker = Speaker(reader, writer)
        if greets:
            speaker.say(frames.PREFACE, frames.settings(settings or {}))
        try:
            yield speaker
        finally:
            writer.close()

    @property
    def load(self) -> tuple[int, int]:
        """Calls under way, and bytes held."""
        return len(self.server._load.tasks), self.server._load.held


async def stopped(server: Server) -> None:
    """Under TLS a connection that is closed waits for its peer's last word, and a loop that ends before it comes leaves it open."""
    await server.stop(0)
    if isinstance(server, H2Server):
        with suppress(TimeoutError):
            async with asyncio.timeout(WAIT):
                await server._lines.none.wait()


@asynccontextmanager
async def served(handler: Handler = echo, tls: Tls | None = None) -> AsyncIterator[Served]:
    """Nothing may be left of any call when it is over."""
    found = Served(H2Server({PATH: handler}, "127.0.0.1:0", tls))
    await found.server.start()
    try:
        yield found
    finally:
        await stopped(found.server)
    assert found.load == (0, 0)
