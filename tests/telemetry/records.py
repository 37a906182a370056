"""Records as the core and the effect runner write them."""

from typing import Any

from headrace.ext_proc.core.effects import Record

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOW_MS = 1_700_000_010_000
START_MS = 1_700_000_000_000
USAGE = {"input_tokens": 100, "output_tokens": 20, "cached_tokens": 40, "reasoning_tokens": 5}


class FixedClock:
    """It is always NOW_MS."""

    def now_ms(self) -> int:
        return NOW_MS


def decision(**members: Any) -> Record:
    """A chat that was handed off, but for what `members` say."""
    usual: dict[str, Any] = {
        "exchange": "hx1",
        "revision": "0123456789ab",
        "start_ms": START_MS,
        "endpoint": "chat",
        "model": "what the client wrote",
        "stream": False,
        "outcome": "handed_off",
        "metadata": {"model": "llama", "route": "standard"},
        "traceparent": PARENT,
        "steps": [{"filter": "routing", "phase": "request", "outcome": "continue", "reason": "routing.first_pool", "us": 120.0}],
        "elapsed_us": 340.0,
    }
    return Record("decision", usual | members)


def settlement(**members: Any) -> Record:
    """A stream that the access log reported, but for what `members` say."""
    usual: dict[str, Any] = {
        "exchange": "hx1",
        "organisation": "default",
        "model": "llama",
        "route": "standard",
        "endpoint": "chat",
        "stream": 1.0,
        "traceparent": PARENT,
        "status": 200,
        "start_ms": START_MS,
        "duration_ms": 2_500.0,
        "first_byte_ms": 300.0,
        "usage": USAGE,
        "usd": "0.000076",
        "outcome": "settled",
    }
    return Record("settlement", {name: value for name, value in (usual | members).items() if value is not None})


def settled_on_the_stream(**members: Any) -> Record:
    """A settlement of an answer that went through us: the decision tells the rest."""
    return settlement(start_ms=None, duration_ms=None, first_byte_ms=None, traceparent=None, **members)
