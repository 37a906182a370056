"""The server: a listening socket, and the connections that came from it."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

from headrace.ext_proc.envoy.certificate import Certificate
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.h2.handshakes import Handshakes
from headrace.ext_proc.envoy.h2.limits import MAX_CONNECTIONS, Load
from headrace.ext_proc.envoy.h2.protocol import H2Protocol, Lines
from headrace.ext_proc.envoy.transport import ListenError, Methods, Tls

BACKLOG = 1_024


class H2Server:
    """Serves the methods on one address: `unix:/path` or `host:port`. Raises ListenError when it is made."""

    def __init__(self, methods: Methods, address: str, tls: Tls | None = None) -> None:
        self._methods = methods
        self._load = Load()
        self._lines = Lines()
        self._server: asyncio.Server | Handshakes | None = None
        try:
            self.certificate = Certificate(tls, tls.context) if tls is not None else None
            self._socket = _bound(Address.parse(address))
        except (OSError, ValueError) as error:
            raise ListenError(f"cannot listen on {address}: {error}") from error
        self._file = _identity(self._socket)
        self.port = 0 if self._file else self._socket.getsockname()[1]

    async def start(self) -> None:
        if self.certificate is not None:
            self._server = Handshakes(self._socket, self.certificate.context, self._accepted)
            return
        loop = asyncio.get_running_loop()
        make: Any = loop.create_unix_server if self._file else loop.create_server
        self._server = await make(self._accepted, sock=self._socket, backlog=BACKLOG)

    def _accepted(self) -> asyncio.Protocol:
        if len(self._lines.open) >= MAX_CONNECTIONS:
            return _Refused()
        return H2Protocol(self._methods, self._load, self._lines)

    async def stop(self, grace: float) -> None:
        """No new streams; those that are open may go on for `grace` seconds, or until this is called again with less."""
        self._leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self._lines.none.wait()
        for line in self._lines.open:
            line.end()
        if self._load.tasks:
            await asyncio.wait(self._load.tasks)
        for line in list(self._lines.open):
            line.close()

    def _leave(self) -> None:
        """Nobody can connect any more, and those who have are asked to open no more streams."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self._socket.close()
        if self._file and _identity_of(self._file[0]) == self._file:
            self._file[0].unlink()
        for line in self._lines.open:
            line.drain()


class _Refused(asyncio.Protocol):
    """One connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


_File = tuple[Path, int, int]
"""A socket in the file system: its path, device and inode."""


def _bound(address: Address) -> socket.socket:
    """Raises OSError."""
    if address.path is not None:
        return _bind(socket.AF_UNIX, address.path)
    family, _, _, _, at = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return _bind(family, at)


def _bind(family: int, at: object) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family != socket.AF_UNIX:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(at)  # type: ignore[arg-type]
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made


def _identity(made: socket.socket) -> _File | None:
    """None for a socket that is no file."""
    return _identity_of(Path(made.getsockname())) if made.family == socket.AF_UNIX else None


def _identity_of(path: Path) -> _File | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return path, found.st_dev, found.st_ino
