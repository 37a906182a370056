"""The floor: a processor in Python that decides nothing. `python -m tests.bench.noop unix:/path COUNT`

grpc.aio on uvloop; it answers the headers and the body of each request, ends the stream cleanly, parses the access log's
entries as a settlement would, and keeps in the file COUNT how many told their usage.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import uvloop

from headrace.ext_proc.envoy.pb import headrace_access_log_pb2 as log_pb
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.envoy.pb import headrace_health_pb2 as health_pb

Context = grpc.aio.ServicerContext[bytes, bytes]
SERVING = health_pb.HealthCheckResponse(status=health_pb.HealthCheckResponse.SERVING).SerializeToString()
HEADERS = pb.ProcessingResponse(request_headers=pb.HeadersResponse()).SerializeToString()


def _body() -> bytes:
    answer = pb.ProcessingResponse(request_body=pb.BodyResponse())
    # Envoy reads the usage of answers that have `settle`, and logs the requests that have `exchange`.
    answer.dynamic_metadata.update({"headrace": {"exchange": "noop", "settle": "access_log"}})
    return answer.SerializeToString()


BODY = _body()


class Noop:
    """The three services, on message bytes."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._settled = 0
        self._write()

    def _write(self) -> None:
        os.pwrite(self._count, b"%d" % self._settled, 0)

    async def process(self, _: AsyncIterator[bytes], context: Context) -> None:
        """Headers, body, clean end."""
        while (data := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
            request = pb.ProcessingRequest.FromString(data)
            if request.HasField("request_body"):
                await context.write(BODY)
                return
            await context.write(HEADERS)

    async def log(self, _: AsyncIterator[bytes], context: Context) -> bytes:
        """Counts the entries that tell a usage."""
        while (data := await context.read()) is not grpc.aio.EOF:  # type: ignore[comparison-overlap]
            for entry in log_pb.StreamAccessLogsMessage.FromString(data).http_logs.log_entry:
                usage = entry.common_properties.metadata.filter_metadata["headrace.usage"]
                self._settled += "completion_tokens" in usage.fields
            self._write()
        return b""

    async def check(self, _: bytes, context: Context) -> bytes:
        """Health: always serving."""
        return SERVING


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, noop: Noop) -> None:
        self._methods: dict[str, Any] = {
            "/envoy.service.ext_proc.v3.ExternalProcessor/Process": grpc.stream_stream_rpc_method_handler(noop.process),
            "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs": grpc.stream_unary_rpc_method_handler(noop.log),
            "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(noop.check),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._methods.get(handler_call_details.method)


async def serve(address: str, count: str) -> None:
    """Serve until SIGTERM."""
    noop, stop = Noop(os.open(count, os.O_WRONLY | os.O_CREAT)), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_Handlers(noop),))
    server.add_insecure_port(address)
    await server.start()
    await stop.wait()
    await server.stop(0)




if __name__ == "__main__":
    uvloop.run(serve(*sys.argv[1:]))
