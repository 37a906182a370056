"""The gRPC health service: what Envoy's health check asks of a worker.

Source: https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

from collections.abc import Callable

from google.protobuf.message import DecodeError

from headrace.ext_proc.envoy.pb import headrace_health_pb2 as pb

METHOD = "/grpc.health.v1.Health/Check"


class Health:
    """SERVING until the worker drains. ready: whether the worker can decide requests at all."""

    def __init__(self, ready: Callable[[], bool]) -> None:
        self._ready = ready

    def check(self, request: bytes) -> bytes:
        """Every service name gets the worker's state: there is one worker behind all of them. `liveness` is served by whoever can
        answer; the Endpoint Picker Protocol asks for it, and for `readiness`.
        """
        serving = self._ready() or _service(request) == "liveness"
        status = pb.HealthCheckResponse.SERVING if serving else pb.HealthCheckResponse.NOT_SERVING
        return pb.HealthCheckResponse(status=status).SerializeToString()


def _service(request: bytes) -> str:
    """Empty for bytes that are no request."""
    try:
        return pb.HealthCheckRequest.FromString(request).service
    except DecodeError:
        return ""
