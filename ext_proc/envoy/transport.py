"""What the services ask of a gRPC transport, and the choice between two: our own HTTP/2 server, and grpc.aio."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Protocol

from headrace.ext_proc.core.errors import HeadraceError

if TYPE_CHECKING:
    import ssl

    from headrace.ext_proc.envoy.certificate import Certificate

MAX_MESSAGE = 256 * 1024 * 1024
"""Bytes. A buffered body is one message: this must exceed the gateway's buffer limit; grpcio's default of 4 MiB makes a 500."""


class Status(IntEnum):
    """https://grpc.github.io/grpc/core/md_doc_statuscodes.html"""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class Aborted(HeadraceError):
    """Ends a call with a status that is not OK; raised by a handler."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


class ListenError(HeadraceError):
    """The address cannot be listened on."""


class Call(Protocol):
    """One gRPC call, of messages in both directions. A handler is cancelled when the peer hangs up or the deadline is over."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The call's initial metadata; of a name that comes twice, the last value."""

    async def read(self) -> bytes | None:
        """The next message; None when the peer has ended its side."""

    async def write(self, message: bytes) -> None:
        """Returns when the transport has taken the message over, which may be when a slow peer lets it."""


Handler = Callable[[Call], Awaitable[None]]
"""Serves a call; when it returns, the call ends with status OK. Raises Aborted for any other status."""

Methods = Mapping[str, Handler]
"""By `/package.Service/Method`."""


class Server(Protocol):
    """Listens from when it is made. port: the one that it listens on, 0 on a Unix socket.

    certificate: of its connections; None without TLS, and where it is read once.
    """

    port: int
    certificate: "Certificate | None"

    async def start(self) -> None:
        """Takes calls."""

    async def stop(self, grace: float) -> None:
        """No new calls; those that are open may go on for `grace` seconds. May be called again, with less."""


class Transport(StrEnum):
    """Who speaks gRPC."""

    H2 = "h2"
    GRPCIO = "grpcio"


DEFAULT = Transport.H2


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files, by path. client_ca: whose certificates clients must show; empty asks for none."""

    certificate: str
    key: str
    client_ca: str = ""

    def context(self) -> "ssl.SSLContext":
        """Raises OSError, of which ssl.SSLError is one, for files that cannot be used."""
        import ssl  # the commands that only name a transport do without

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.client_ca or None)
        context.load_cert_chain(self.certificate, self.key, password="")  # else OpenSSL asks whoever is at the terminal
        context.set_alpn_protocols(["h2"])
        if self.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
        return context


def listen(transport: Transport, methods: Methods, address: str, tls: Tls | None = None) -> Server:
    """A server of `methods` on `unix:/path` or `host:port`. Raises ListenError."""
    if transport is Transport.GRPCIO:
        from headrace.ext_proc.envoy.transport_grpcio import GrpcioServer  # 20 MB that a worker can do without

        return GrpcioServer(methods, address, tls)
    from headrace.ext_proc.envoy.h2.server import H2Server

    return H2Server(methods, address, tls)
