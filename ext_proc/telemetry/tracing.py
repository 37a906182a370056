"""Traces: one span per LLM call with the attributes of OpenTelemetry's GenAI conventions, joined to the caller's trace.

A call ends when its settlement arrives, often on another worker than the one that admitted it, so a span is written whole at the
end, from the record. It holds names and numbers, never a text of a request.
"""

import asyncio
import os
from collections.abc import Mapping
from threading import Thread
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.ports import Clock
from headrace.ext_proc.telemetry.calls import Finish, finished, operation_of, provider_of

NANO_PER_MS: Final = 1_000_000
WAITING: Final = 8_192
"""Spans that may wait for the collector, about a kilobyte each; more are dropped by the SDK, which says so."""
FLUSH_S: Final = 3.0
"""For the last spans when the service ends."""
MAX_ATTRIBUTE: Final = 256
"""Characters of one attribute; a model's name may be the client's words."""
TRACES_PATH: Final = "/v1/traces"

_USAGE: Final = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "reasoning_tokens": "gen_ai.usage.reasoning.output_tokens",
}


class Tracing:
    """An observer of the effect runner. processor: takes the spans."""

    def __init__(self, processor: SpanProcessor, clock: Clock) -> None:
        resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "headrace")})
        self._provider = TracerProvider(sampler=ParentBased(ALWAYS_ON), resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("headrace")
        self._clock = clock

    @classmethod
    def to_collector(cls, url: str, clock: Clock) -> "Tracing":
        """Spans go to an OTLP collector over HTTP, from a thread. url: its base, such as http://127.0.0.1:4318.

        Headers, time-outs and certificates come from the environment, as OTEL_EXPORTER_OTLP_* say.
        """
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        exporter = OTLPSpanExporter(endpoint=url.rstrip("/").removesuffix(TRACES_PATH) + TRACES_PATH)
        return cls(BatchSpanProcessor(exporter, max_queue_size=WAITING, schedule_delay_millis=1_000), clock)

    def observe(self, record: Record) -> None:
        """Writes the span of the call that `record` ends, if it ends one."""
        if (finish := finished(record, self._clock.now_ms())) is not None:
            self._write(finish)

    async def close(self) -> None:
        """Sends what waits, for FLUSH_S at most: a collector that is down must not hold up the end."""
        ending = Thread(target=self._provider.shutdown, daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, FLUSH_S)

    def _write(self, finish: Finish) -> None:
        span = self._tracer.start_span(
            f"{operation_of(finish.endpoint)} {finish.model[:MAX_ATTRIBUTE]}".rstrip(),
            context=_parent(finish.traceparent),
            kind=SpanKind.CLIENT,
            attributes=_attributes(finish),
            start_time=finish.start_ms * NANO_PER_MS,
        )
        if finish.error:
            span.set_status(Status(StatusCode.ERROR, finish.reason or finish.error))
        span.end(int((finish.start_ms + finish.duration_ms) * NANO_PER_MS))


def _parent(traceparent: str | None) -> Context:
    """The caller's span as the parent, its sampling decision included; without one, the span starts a trace."""
    if traceparent is None:
        return Context()
    _, trace, span, flags = traceparent.split("-")
    context = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags, 16)))
    return set_span_in_context(NonRecordingSpan(context), Context())


def _attributes(finish: Finish) -> Mapping[str, AttributeValue]:
    found: dict[str, AttributeValue | None] = {
        "gen_ai.operation.name": operation_of(finish.endpoint),
        "gen_ai.provider.name": provider_of(finish.endpoint),
        "gen_ai.request.model": finish.model[:MAX_ATTRIBUTE],
        "gen_ai.request.stream": finish.stream or None,
        "gen_ai.response.time_to_first_chunk": _first_chunk(finish),
        "http.response.status_code": finish.status or None,
        "error.type": finish.error,
        "headrace.exchange": finish.exchange,
        "headrace.route": finish.route,
        "headrace.reason": finish.reason,
        "headrace.cost_usd": float(finish.usd) if finish.usd else None,
    }
    for member, name in _USAGE.items():
        found[name] = (finish.usage or {}).get(member)
    return {name: value for name, value in found.items() if value not in (None, "")}


def _first_chunk(finish: Finish) -> float | None:
    return finish.first_byte_ms / 1e3 if finish.stream and finish.first_byte_ms is not None else None
