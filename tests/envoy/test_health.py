"""gRPC health by the names that are asked for: Envoy's own check, and those of the Endpoint Picker Protocol."""

import pytest

from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.pb import headrace_health_pb2 as pb

SERVING, NOT_SERVING = pb.HealthCheckResponse.SERVING, pb.HealthCheckResponse.NOT_SERVING
PROCESSOR = "envoy.service.ext_proc.v3.ExternalProcessor"


def status(service: str, *, ready: bool) -> int:
    request = pb.HealthCheckRequest(service=service).SerializeToString()
    return pb.HealthCheckResponse.FromString(Health(lambda: ready).check(request)).status


@pytest.mark.parametrize("service", ["", "liveness", "readiness", PROCESSOR])
def test_a_worker_that_is_ready_serves_under_every_name(service: str) -> None:
    assert status(service, ready=True) == SERVING


@pytest.mark.parametrize("service", ["", "readiness", PROCESSOR])
def test_one_that_drains_serves_under_none(service: str) -> None:
    assert status(service, ready=False) == NOT_SERVING


def test_but_it_lives() -> None:
    assert status("liveness", ready=False) == SERVING


@pytest.mark.parametrize("ready", [True, False])
def test_bytes_that_are_no_request_ask_for_the_worker(ready: bool) -> None:
    answer = pb.HealthCheckResponse.FromString(Health(lambda: ready).check(b"\xff"))
    assert answer.status == (SERVING if ready else NOT_SERVING)
