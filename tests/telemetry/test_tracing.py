"""One span per call, joined to the caller's trace; in memory, and over OTLP to a collector."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.telemetry import tracing as tracing_module
from headrace.ext_proc.telemetry.tracing import Tracing
from tests.telemetry.records import NOW_MS, PARENT, START_MS, USAGE, FixedClock, decision, settlement


def spans_of(*records: Record) -> Sequence[ReadableSpan]:
    exporter = InMemorySpanExporter()
    tracing = Tracing(SimpleSpanProcessor(exporter), FixedClock())
    for record in records:
        tracing.observe(record)
    return exporter.get_finished_spans()


def test_a_call_is_one_span_with_the_conventions_attributes() -> None:
    (span,) = spans_of(decision(), settlement())
    assert span.name == "chat llama"
    assert span.kind is SpanKind.CLIENT
    assert dict(span.attributes or {}) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "llama",
        "gen_ai.request.stream": True,
        "gen_ai.response.time_to_first_chunk": 0.3,
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "http.response.status_code": 200,
        "headrace.exchange": "hx1",
        "headrace.route": "standard",
        "headrace.cost_usd": 0.000076,
    }
    assert (span.start_time, span.end_time) == (START_MS * 1_000_000, (START_MS + 2_500) * 1_000_000)
    assert span.status.status_code is StatusCode.UNSET


def test_the_caller_s_span_is_the_parent() -> None:
    (span,) = spans_of(settlement())
    assert span.context is not None
    assert span.parent is not None
    assert f"00-{span.context.trace_id:032x}-{span.parent.span_id:016x}-01" == PARENT


def test_a_caller_that_does_not_sample_is_not_traced() -> None:
    assert spans_of(settlement(traceparent=PARENT[:-2] + "00")) == ()


def test_without_a_caller_s_trace_every_call_starts_one() -> None:
    one, other = spans_of(settlement(traceparent=None), settlement(traceparent=None))
    assert one.parent is None
    assert one.context is not None
    assert other.context is not None
    assert one.context.trace_id != other.context.trace_id


def test_a_refusal_is_an_error_with_its_reason() -> None:
    (span,) = spans_of(decision(outcome="refused", reason="budget.exhausted"))
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "budget.exhausted"
    attributes = dict(span.attributes or {})
    assert (attributes["error.type"], attributes["headrace.reason"]) == ("budget.exhausted", "budget.exhausted")


def test_an_answer_that_went_through_us_ends_now() -> None:
    (span,) = spans_of(decision(outcome="completed", status=200, usage=USAGE, stream=True))
    assert (span.start_time, span.end_time) == (START_MS * 1_000_000, NOW_MS * 1_000_000)
    assert dict(span.attributes or {})["gen_ai.usage.input_tokens"] == 100


def test_a_client_s_words_are_cut() -> None:
    (span,) = spans_of(decision(outcome="refused", metadata={}, model="m" * 10_000))
    assert len(span.name) < 300


class Sink:
    """An OTLP/HTTP collector that keeps what it is sent."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []

    async def take(self, request: Request) -> Response:
        self.requests.append(ExportTraceServiceRequest.FromString(await request.body()))
        return Response(media_type="application/x-protobuf")


@asynccontextmanager
async def collector(sink: Sink) -> AsyncIterator[str]:
    app = Starlette(routes=[Route("/v1/traces", sink.take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  uvicorn has no event for it
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await serving


@pytest.mark.parametrize("suffix", ["", "/", "/v1/traces"])
async def test_spans_reach_a_collector_over_http(suffix: str) -> None:
    sink = Sink()
    async with collector(sink) as url:
        tracing = Tracing.to_collector(url + suffix, FixedClock())
        tracing.observe(settlement())
        await tracing.close()
    (request,) = sink.requests
    (resource,) = request.resource_spans
    names = {attribute.key: attribute.value.string_value for attribute in resource.resource.attributes}
    (span,) = resource.scope_spans[0].spans
    assert names["service.name"] == "headrace"
    assert span.name == "chat llama"
    assert f"00-{span.trace_id.hex()}-{span.parent_span_id.hex()}-01" == PARENT


async def test_a_collector_that_is_down_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing_module, "FLUSH_S", 0.1)
    before = set(threading.enumerate())
    tracing = Tracing.to_collector("http://127.0.0.1:1", FixedClock())
    tracing.observe(settlement())
    await tracing.close()
    trying = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("Otel")]
    assert trying
    for thread in trying:
        await asyncio.to_thread(thread.join)  # it draws random numbers, which a property that is tested next would take for its own
