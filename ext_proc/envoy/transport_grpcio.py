"""Calls on grpc.aio with byte handlers: the transport whose behaviour the other one is measured by."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from headrace.ext_proc.envoy.certificate import Certificate
from headrace.ext_proc.envoy.transport import MAX_MESSAGE, Aborted, Handler, ListenError, Methods, Tls

_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.so_reuseport", 0),  # two workers on one port by accident is an error, not a load balancer
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)
_CODES = {code.value[0]: code for code in grpc.StatusCode}

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcioServer:
    """Serves the methods on one address: `unix:/path` or `host:port`. Raises ListenError when it is made."""

    def __init__(self, methods: Methods, address: str, tls: Tls | None = None) -> None:
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((_Handlers(methods),))
        self.port = self._listen(address, tls)
        self.certificate: Certificate | None = None

    def _listen(self, address: str, tls: Tls | None) -> int:
        try:
            if tls is None:
                return self._server.add_insecure_port(address)
            return self._server.add_secure_port(address, _credentials(tls))
        except (RuntimeError, OSError) as error:
            raise ListenError(f"cannot listen on {address}: {error}") from error

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """No new streams; those that are open may go on for `grace` seconds."""
        await self._server.stop(grace)


def _credentials(tls: Tls) -> grpc.ServerCredentials:
    authorities = Path(tls.client_ca).read_bytes() if tls.client_ca else None
    pair = (Path(tls.key).read_bytes(), Path(tls.certificate).read_bytes())
    return grpc.ssl_server_credentials([pair], authorities, require_client_auth=authorities is not None)


class _Call:
    """A call, as handlers know it."""

    def __init__(self, context: Context) -> None:
        self._context = context

    @property
    def metadata(self) -> Mapping[str, str]:
        return dict(self._context.invocation_metadata() or ())  # type: ignore[arg-type]  # pairs of str

    async def read(self) -> bytes | None:
        data = await self._context.read()
        return data if isinstance(data, bytes) else None  # else the end mark

    async def write(self, message: bytes) -> None:
        await self._context.write(message)


class _Handlers(grpc.GenericRpcHandler):
    """Every method takes and gives streams: on the wire, a single message is a stream of one."""

    def __init__(self, methods: Methods) -> None:
        self._methods: dict[str, Any] = {
            path: grpc.stream_stream_rpc_method_handler(_adapted(handler)) for path, handler in methods.items()
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method)


def _adapted(handler: Handler) -> Callable[[Any, Context], Awaitable[None]]:
    async def serve(_: Any, context: Context) -> None:
        try:
            await handler(_Call(context))
        except Aborted as aborted:
            await context.abort(_CODES[aborted.status], str(aborted))

    return serve
