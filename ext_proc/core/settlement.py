"""From a gateway's access-log entry to what becomes of the lease: the same rules, whichever gateway wrote the entry."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from msgspec import Struct

from headrace.ext_proc.core.candidates import KEY as CANDIDATES
from headrace.ext_proc.core.candidates import answered, settled_as
from headrace.ext_proc.core.effects import Effect, Release, Settle
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.stream_sizes import Kind, StreamSizes
from headrace.ext_proc.core.terms import Terms, read
from headrace.ext_proc.core.usage import FREE, Usage, answer_tokens, usage_of


class Finished(Struct, frozen=True):
    """One exchange, as the gateway saw it end.

    metadata: what we returned under the namespace `headrace`. usage: what the gateway read of the provider's `usage`, flat.
    status: what the caller got, 0 for nothing. reached_upstream: an upstream had the request, whatever became of it then.
    discarded: the upstream's answer was more than the gateway reads whole; the status is that of its own reply.
    start_ms: epoch milliseconds. upstream: who answered; empty where the gateway does not say. answer_bytes: of the answer's body
    that went to the caller; 0 also where the gateway does not say.
    """

    metadata: Mapping[str, Any]
    usage: Mapping[str, Any]
    status: int
    reached_upstream: bool
    duration_ms: float = 0.0
    first_byte_ms: float | None = None
    start_ms: int = 0
    upstream: str = ""
    answer_bytes: int = 0
    discarded: bool = False


READ = ("exchange", "settle", "lease", "route", CANDIDATES)
"""The names of the metadata that a settlement reads; an adapter need not decode more."""


def settlement(entry: Finished, sizes: StreamSizes | None = None) -> Sequence[Effect]:
    """The effects of an entry. None for requests that are not ours, that were refused, or whose answer passed through us.

    sizes: learns of streams with usage, and is asked about those without.
    """
    answer = answered(entry.metadata, entry.upstream)
    effects = _effects(entry, sizes or StreamSizes())
    return effects if answer is None else [settled_as(effect, answer) for effect in effects]


def _effects(entry: Finished, sizes: StreamSizes) -> Sequence[Effect]:
    told = entry.metadata
    exchange, terms = told.get("exchange"), read(told.get("lease"))
    if told.get("settle") != "access_log" or terms is None or not isinstance(exchange, str) or not exchange:
        return ()
    usage, how = _used(entry, terms, sizes)
    context = _context(exchange, terms, entry) | how
    if terms.most is None:
        return [Settle("", None, usage, terms.price, context=context)]
    if usage is None and not entry.discarded and costs_nothing(entry.status, reached_upstream=entry.reached_upstream):
        return [Release(terms.organisation, exchange, context)]
    return [Settle(terms.organisation, exchange, usage, terms.price, terms.most, context)]


def _reported(entry: Finished, endpoint: Endpoint) -> Usage | None:
    """None also where the answer's part is missing: of an Anthropic stream cut short the prompt's part has been read, no more."""
    if endpoint.counts and not answer_tokens(entry.usage):
        return None if costs_nothing(entry.status, reached_upstream=entry.reached_upstream) else FREE
    if endpoint.has_answer and answer_tokens(entry.usage) is None:
        return None
    return usage_of(_nested(entry.usage))


def _used(entry: Finished, terms: Terms, sizes: StreamSizes) -> tuple[Usage | None, dict[str, Any]]:
    """What is known of the exchange's usage, and what the record is to say of how it is known."""
    usage = _reported(entry, terms.endpoint)
    if not terms.stream or entry.status != HTTPStatus.OK or not entry.answer_bytes:
        return usage, {}
    kind = Kind(terms.model or "", terms.endpoint.value, entry.upstream)
    if usage is not None:
        sizes.learn(kind, entry.answer_bytes, usage.output_tokens)
        return usage, {}
    tokens = sizes.tokens(kind, entry.answer_bytes)
    if tokens is None or terms.most is None or not terms.sized:
        return None, {}
    return Usage(terms.most.input_tokens, min(tokens, terms.most.output_tokens)), {"answer_sized": True}


def costs_nothing(status: int | None, *, reached_upstream: bool) -> bool:
    """Whether a call without reported usage is free: the upstream never had it, or refused it."""
    return not reached_upstream or (status is not None and status >= 400)


# Flat key, and where the provider has it.
_DETAILS = (
    ("cached_tokens", "input_tokens_details", "cached_tokens"),
    ("reasoning_tokens", "output_tokens_details", "reasoning_tokens"),
    ("cache_creation_1h_input_tokens", "cache_creation", "ephemeral_1h_input_tokens"),
)
_FLAT = frozenset(flat for flat, _, _ in _DETAILS)


def _nested(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The gateway writes flat keys; the provider's shape has the details one level down."""
    if _FLAT.isdisjoint(usage):
        return usage
    return {**usage, **{part: {name: usage[flat]} for flat, part, name in _DETAILS if flat in usage}}


def _context(exchange: str, terms: Terms, entry: Finished) -> dict[str, Any]:
    context: dict[str, Any] = {"exchange": exchange, **terms.members}
    if isinstance(route := entry.metadata.get("route"), str):
        context["route"] = route
    context["status"], context["duration_ms"], context["start_ms"] = entry.status, entry.duration_ms, entry.start_ms
    if entry.first_byte_ms is not None:
        context["first_byte_ms"] = entry.first_byte_ms
    return context
