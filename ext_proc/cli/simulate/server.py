"""Running a pool, in this process or as one of its own."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from uvicorn.config import Config
from uvicorn.server import Server

from . import words
from .app import build
from .books import Books
from .script import Script

LOOPBACK = "127.0.0.1"
PLAIN = Script()
BACKLOG = 4096  # a burst of connections waits here instead of being refused


class _Server(Server):
    """uvicorn without its signal handlers: the process belongs to whoever runs the pool."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class SimulatedPool:
    """A pool in this event loop: `async with SimulatedPool("standard") as pool`. It listens from `__aenter__` on.

    `port` 0 takes a free port of loopback; `uds` listens on a Unix socket instead. `books`: to write down in those.
    """

    def __init__(
        self,
        name: str = "simulated",
        *,
        port: int = 0,
        uds: Path | None = None,
        models: Sequence[str] = ("llama-3.3-70b",),
        default: Script = PLAIN,
        books: Books | None = None,
    ) -> None:
        self.name = name
        self.books = Books() if books is None else books
        self._address: Path | int = uds or port
        config = Config(
            build(self.books, models, default),
            lifespan="off",
            log_config=None,
            log_level="critical",  # a cut connection is what the script asked for, no error
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=0,
        )
        self._server = _Server(config)
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """`http://127.0.0.1:port`, without a path. Raises RuntimeError while it does not listen on a port."""
        if self._socket is None or self._socket.family != socket.AF_INET:
            raise RuntimeError("the pool listens on no port")
        return f"http://{LOOPBACK}:{self._socket.getsockname()[1]}"

    async def __aenter__(self) -> Self:
        """Raises OSError when the address is taken."""
        self._socket = _listen(self._address)
        words.count("")  # loads the tokenizer, a quarter of a second that no request shall wait for
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening and cut what is still running."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
        if isinstance(self._address, Path):
            self._address.unlink(missing_ok=True)


def _listen(address: Path | int) -> socket.socket:
    if isinstance(address, Path):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(address))
    else:  # asyncio sets TCP_NODELAY only where the protocol is named; without it an answer waits 40 ms for an acknowledgement
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, address))
    listener.listen(BACKLOG)
    return listener
