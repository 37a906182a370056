"""The floor: a processor in Python that decides nothing. `python -m tests.bench.noop grpcio|h2 unix:/path COUNT`

On uvloop, with grpc.aio as it is or with Headrace's own HTTP/2 server; it answers the headers and the body of each request, ends
the stream cleanly, parses the access log's entries as a settlement would, and keeps in the file COUNT how many told their usage.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any, assert_never

import grpc
import grpc.aio
import uvloop

from headrace.ext_proc.envoy.pb import headrace_access_log_pb2 as log_pb
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.envoy.pb import headrace_health_pb2 as health_pb
from headrace.ext_proc.envoy.transport import Call, Methods, Transport, listen

Context = grpc.aio.ServicerContext[bytes, bytes]
PROCESS = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"
LOG = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"
CHECK = "/grpc.health.v1.Health/Check"
SERVING = health_pb.HealthCheckResponse(status=health_pb.HealthCheckResponse.SERVING).SerializeToString()
HEADERS = pb.ProcessingResponse(request_headers=pb.HeadersResponse()).SerializeToString()


def _body() -> bytes:
    answer = pb.ProcessingResponse(request_body=pb.BodyResponse())
    # Envoy reads the usage of answers that have `settle`, and logs the requests that have `exchange`.
    answer.dynamic_metadata.update({"headrace": {"exchange": "noop", "settle": "access_log"}})
    return answer.SerializeToString()


BODY = _body()


class Noop:
    """Everything but the transport. settled: how many entries have told their usage; kept in the file `count`, too."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._settled = 0
        self._write()

    def _write(self) -> None:
        os.pwrite(self._count, b"%d" % self._settled, 0)

    def answer(self, data: bytes) -> bytes:
        """BODY is the last."""
        return BODY if pb.ProcessingRequest.FromString(data).HasField("request_body") else HEADERS

    def log(self, data: bytes) -> None:
        """Counts the entries that tell a usage."""
        for entry in log_pb.StreamAccessLogsMessage.FromString(data).http_logs.log_entry:
            usage = entry.common_properties.metadata.filter_metadata["headrace.usage"]
            self._settled += "completion_tokens" in usage.fields
        self._write()


def on_h2(noop: Noop) -> Methods:
    """The three services for Headrace's transport."""

    async def process(call: Call) -> None:
        answer = b""
        while answer is not BODY and (data := await call.read()) is not None:
            answer = noop.answer(data)
            await call.write(answer)

    async def log(call: Call) -> None:
        while (data := await call.read()) is not None:
            noop.log(data)
        await call.write(b"")

    async def check(call: Call) -> None:
        await call.read()
        await call.write(SERVING)

    return {PROCESS: process, LOG: log, CHECK: check}


class OnGrpcio(grpc.GenericRpcHandler):
    """The three services for grpc.aio, without anything of Headrace's between."""

    def __init__(self, noop: Noop) -> None:
        self._noop = noop
        self._methods: dict[str, Any] = {
            PROCESS: grpc.stream_stream_rpc_method_handler(self._process),
            LOG: grpc.stream_unary_rpc_method_handler(self._log),
            CHECK: grpc.unary_unary_rpc_method_handler(self._check),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method)

    async def _process(self, _: AsyncIterator[bytes], context: Context) -> None:
        answer = b""
        while answer is not BODY and (data := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
            answer = self._noop.answer(data)
            await context.write(answer)

    async def _log(self, _: AsyncIterator[bytes], context: Context) -> bytes:
        while (data := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
            self._noop.log(data)
        return b""

    async def _check(self, _: bytes, context: Context) -> bytes:
        return SERVING


def _server(transport: Transport, noop: Noop, address: str) -> Any:
    match transport:
        case Transport.H2:
            return listen(transport, on_h2(noop), address)
        case Transport.GRPCIO:
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((OnGrpcio(noop),))
            server.add_insecure_port(address)
            return server
        case _:
            assert_never(transport)


async def serve(transport: str, address: str, count: str) -> None:
    """Serve until SIGTERM."""
    noop, stop = Noop(os.open(count, os.O_WRONLY | os.O_CREAT)), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = _server(Transport(transport), noop, address)
    await server.start()
    await stop.wait()
    await server.stop(0)


if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
