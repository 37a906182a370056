"""From a gateway's access-log entry to what becomes of the lease: the same rules, whichever gateway wrote the entry."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from msgspec import Struct

from headrace.ext_proc.core.effects import Effect, Price, Release, Settle
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.usage import Usage, counted, usage_of


class Finished(Struct, frozen=True):
    """One exchange, as the gateway saw it end.

    metadata: what we returned under the namespace `headrace`. usage: what the gateway read of the provider's `usage`, flat.
    status: what the caller got, 0 for nothing. reached_upstream: an upstream had the request, whatever became of it then.
    start_ms: epoch milliseconds.
    """

    metadata: Mapping[str, Any]
    usage: Mapping[str, Any]
    status: int
    reached_upstream: bool
    duration_ms: float = 0.0
    first_byte_ms: float | None = None
    start_ms: int = 0


def settlement(entry: Finished) -> Sequence[Effect]:
    """The effects of an entry. None for requests that are not ours, that were refused, or whose answer passed through us."""
    told = entry.metadata
    if told.get("settle") != "access_log" or not isinstance(told.get("exchange"), str):
        return ()
    usage = _reported(entry)
    context = _context(entry)
    lease, organisation = told.get("lease"), told.get("organisation")
    if not isinstance(lease, str) or not isinstance(organisation, str):
        return [Settle("", None, usage, price_of(told), context)]
    if usage is None and costs_nothing(entry.status, reached_upstream=entry.reached_upstream):
        return [Release(organisation, lease, context)]
    return [Settle(organisation, lease, usage, price_of(told), context)]


def _reported(entry: Finished) -> Usage | None:
    """None also where the answer's part is missing: of an Anthropic stream cut short the prompt's part has been read, no more."""
    given = counted(entry.usage, "completion_tokens", "output_tokens")
    if given is None and entry.metadata.get("endpoint") != Endpoint.EMBEDDINGS.value:
        return None
    return usage_of(_nested(entry.usage))


def costs_nothing(status: int | None, *, reached_upstream: bool) -> bool:
    """Whether a call without reported usage is free: the upstream never had it, or refused it."""
    return not reached_upstream or (status is not None and status >= 400)


def price_of(metadata: Mapping[str, Any]) -> Price | None:
    """The price that was told to the gateway at admission, so that a settlement needs no policy."""
    given, taken = _amount(metadata.get("price_input")), _amount(metadata.get("price_output"))
    if given is None or taken is None:
        return None
    cached, revision = _amount(metadata.get("price_cached_input")), metadata.get("price_revision")
    return Price(given, taken, cached, revision if isinstance(revision, str) else "")


@lru_cache(256)  # policies have few prices
def _amount(value: Any) -> str | None:
    """A decimal string that is a price, else None: whoever can write the log must not stop those who settle by it."""
    try:
        number = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        return None
    return value if number.is_finite() and number >= 0 else None


def price_metadata(price: Price) -> Mapping[str, str]:
    """The other direction of `price_of`."""
    members = {"price_input": price.input, "price_output": price.output, "price_revision": price.revision}
    return members if price.cached_input is None else {**members, "price_cached_input": price.cached_input}


def _nested(usage: Mapping[str, Any]) -> Mapping[str, Any]:
    """The gateway writes flat keys; the provider's shape has the details one level down."""
    shape = dict(usage)
    shape["input_tokens_details"] = {"cached_tokens": usage.get("cached_tokens")}
    shape["output_tokens_details"] = {"reasoning_tokens": usage.get("reasoning_tokens")}
    return shape


_TOLD = ("exchange", "organisation", "model", "route", "endpoint", "stream", "traceparent")

READ = (*_TOLD, "settle", "lease", "price_input", "price_output", "price_cached_input", "price_revision")
"""The names of the metadata that a settlement reads; an adapter need not decode more."""


def _context(entry: Finished) -> Mapping[str, Any]:
    told = {name: entry.metadata[name] for name in _TOLD if name in entry.metadata}
    seen = {"status": entry.status, "duration_ms": entry.duration_ms, "start_ms": entry.start_ms}
    return told | seen | ({} if entry.first_byte_ms is None else {"first_byte_ms": entry.first_byte_ms})


__all__ = ["Finished", "Usage", "costs_nothing", "price_metadata", "price_of", "settlement"]
