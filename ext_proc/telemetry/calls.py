"""What the records say of a call that has ended: one reading for metrics and traces.

An exchange that was handed off ends with the settlement from the gateway's access log (it alone has `start_ms` among settlements);
any other ends with its decision.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from headrace.ext_proc.core.effects import Cause, Record
from headrace.ext_proc.core.endpoint import Dialect, Endpoint

_COUNTS: Final = {endpoint.value for endpoint in Endpoint if endpoint.counts}
_ANTHROPICS: Final = {endpoint.value for endpoint in Endpoint if endpoint.dialect is Dialect.ANTHROPIC}
_OPERATIONS: Final = {"completions": "text_completion", "embeddings": "embeddings"} | dict.fromkeys(_COUNTS, "count_tokens")
_ENDED_BY_US: Final = {Cause.ABORTED.value, Cause.FAILED.value}


class Finish(Struct, frozen=True):
    """A call that has ended.

    model: as the settlement names it, else as the client did: not bounded. status: what the caller got, 0 for nothing, None
    when not known. route: the upstream that was asked last; failed: those that were asked before. usage, usd: where they are
    known. error: empty, or what went wrong in one word. Instants are epoch milliseconds.
    """

    exchange: str
    endpoint: str
    model: str
    stream: bool
    status: int | None
    start_ms: int
    duration_ms: float
    refused: bool = False
    error: str = ""
    reason: str = ""
    usage: Mapping[str, int] | None = None
    usd: str | None = None
    first_byte_ms: float | None = None
    route: str | None = None
    failed: Sequence[str] = ()
    traceparent: str | None = None


def finished(record: Record, now_ms: int) -> Finish | None:
    """The call that `record` ends, or None: it ends none, or none of an LLM endpoint."""
    members = record.members
    if record.kind == "settlement" and members.get("start_ms") and "endpoint" in members:
        return _settled(members)
    if record.kind == "decision" and members.get("endpoint") and members["outcome"] != Cause.HANDED_OFF.value:
        return _decided(members, now_ms)
    return None


def _settled(members: Mapping[str, Any]) -> Finish:
    status = members.get("status") or 0
    return Finish(
        exchange=members["exchange"],
        endpoint=members["endpoint"],
        model=members.get("model", ""),
        stream=bool(members.get("stream")),
        status=status,
        start_ms=members["start_ms"],
        duration_ms=members["duration_ms"],
        error=_error(status),
        reason=members.get("reason", "") if not _error(status) else "",
        usage=members.get("usage"),
        usd=members.get("usd"),
        first_byte_ms=members.get("first_byte_ms"),
        route=members.get("route"),
        failed=members.get("failed", ()),
        traceparent=members.get("traceparent"),
    )


def _decided(members: Mapping[str, Any], now_ms: int) -> Finish:
    outcome, told = members["outcome"], members.get("metadata", {})
    status, start_ms = members.get("status"), members.get("start_ms", now_ms)
    return Finish(
        exchange=members["exchange"],
        endpoint=members["endpoint"],
        model=told.get("model") or members.get("model", ""),
        stream=bool(members.get("stream")),
        status=status,
        start_ms=start_ms,
        duration_ms=max(now_ms - start_ms, members["elapsed_us"] / 1e3),
        refused=outcome == Cause.REFUSED.value,
        error=outcome if outcome in _ENDED_BY_US else members.get("reason") or _error(status),
        reason=members.get("reason", ""),
        usage=members.get("usage"),
        route=members.get("route") or told.get("route"),
        failed=members.get("failed", ()),
        traceparent=members.get("traceparent"),
    )


def _error(status: int | None) -> str:
    if status is None or 0 < status < 400:
        return ""
    return str(status) if status else Cause.ABORTED.value


def counted_usage(record: Record) -> Mapping[str, int] | None:
    """The usage that `record` adds to the totals: each exchange's once, with its settlement where it has a lease.

    None of a count of tokens, unless a model has written for it all the same.
    """
    usage: Mapping[str, int] | None = record.members.get("usage")
    if record.kind == "decision" and "reserved" in record.members:
        return None
    if record.members.get("endpoint") in _COUNTS and not (usage and usage["output_tokens"]):
        return None
    return usage


def operation_of(endpoint: str) -> str:
    """gen_ai.operation.name, as the conventions have it."""
    return _OPERATIONS.get(endpoint, "chat")


def provider_of(endpoint: str) -> str:
    """gen_ai.provider.name: whose API was called; who serves it behind the gateway is not known here."""
    return "anthropic" if endpoint in _ANTHROPICS else "openai"
