"""The services on grpc.aio with byte handlers: nothing here knows what the messages say."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio

from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.envoy import access_log, health, processor
from headrace.ext_proc.envoy.access_log import AccessLog
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.processor import Processor

log = logging.getLogger(__name__)

MAX_MESSAGE = 256 * 1024 * 1024
"""Bytes. A buffered body is one message: this must exceed the gateway's buffer limit; grpcio's default of 4 MiB makes a 500."""

_OPTIONS: Sequence[tuple[str, int]] = (
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.so_reuseport", 0),  # two workers on one port by accident is an error, not a load balancer
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.keepalive_permit_without_calls", 1),
)

Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcioServer:
    """Serves the three services on one address: `unix:/path` or `host:port`."""

    def __init__(self, processor: Processor, access_log: AccessLog, health: Health, address: str) -> None:
        self._processor = processor
        self._access_log = access_log
        self._health = health
        self._server = grpc.aio.server(options=_OPTIONS)
        self._server.add_generic_rpc_handlers((self._handlers(),))
        self.port = self._server.add_insecure_port(address)

    def _handlers(self) -> grpc.GenericRpcHandler:
        methods: dict[str, Any] = {
            processor.METHOD: grpc.stream_stream_rpc_method_handler(self._process),
            access_log.METHOD: grpc.stream_unary_rpc_method_handler(self._log),
            health.METHOD: grpc.unary_unary_rpc_method_handler(self._check),
        }
        return _Handlers(methods)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """No new streams; those that are open may go on for `grace` seconds."""
        await self._server.stop(grace)

    async def _process(self, _: AsyncIterator[bytes], context: Context) -> None:
        stream = self._processor.open(dict(context.invocation_metadata() or ()))  # type: ignore[arg-type]  # pairs of str
        cause = Cause.FAILED
        try:
            while isinstance(data := await context.read(), bytes):  # else the end mark
                for message in await stream.receive(data):
                    await context.write(message)
                if stream.finished:
                    return
            cause = Cause.ABORTED
            if not stream.over:
                # A clean end would let the rest of the answer pass unseen.
                await context.abort(grpc.StatusCode.CANCELLED, "the proxy ended the stream first")
        except asyncio.CancelledError:
            cause = Cause.ABORTED
            raise
        except HeadraceError as error:
            log.error("stream aborted", extra={"error": type(error).__name__, "detail": str(error)})
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        finally:
            # After this turn of the loop: the stream's status goes out first, and the proxy goes on.
            asyncio.get_running_loop().call_soon(stream.close, cause)

    async def _log(self, _: AsyncIterator[bytes], context: Context) -> bytes:
        while isinstance(data := await context.read(), bytes):  # else the end mark
            try:
                self._access_log.receive(data)
            except HeadraceError as error:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            # One read can hold hundreds of entries; requests must not wait for all that has come.
            await asyncio.sleep(0)
        return b""

    async def _check(self, request: bytes, _: Context) -> bytes:
        return self._health.check(request)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, methods: dict[str, Any]) -> None:
        self._methods = methods

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method)
