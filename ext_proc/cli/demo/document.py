"""The demo as one JSON document."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from .evidence import Exchange
from .ledger import Counter
from .story import Burst, Stage


def document(on: Stage, exchanges: Sequence[Exchange], burst: Burst) -> dict[str, Any]:
    """Everything that was seen, in JSON's types."""
    return {
        "as_expected": all(exchange.as_expected for exchange in exchanges) and burst.as_expected,
        "url": on.stack.url,
        "policy": on.files.policy.read_text(),
        "exchanges": [_exchange(exchange) for exchange in exchanges],
        "burst": _burst(burst),
        "ledger": [_counter(counter) for counter in burst.counters],
    }


def _exchange(exchange: Exchange) -> dict[str, Any]:
    return {
        "scene": exchange.scene.name,
        "title": exchange.scene.title,
        "as_expected": exchange.as_expected,
        "client": _client(exchange),
        "decision": exchange.decision,
        "settlement": exchange.settlement,
        "upstream": _upstream(exchange),
    }


def _client(exchange: Exchange) -> dict[str, Any]:
    seen, scene = exchange.seen, exchange.scene
    return {
        "model": scene.model,
        "caller": scene.caller,
        "stream": scene.stream,
        "prompt": scene.prompt,
        "status": seen.status,
        "code": seen.code or None,
        "text": seen.text,
        "headers": dict(seen.headers),
        "first_ms": seen.first_ms and round(seen.first_ms, 2),
        "total_ms": round(seen.total_ms, 2),
    }


def _upstream(exchange: Exchange) -> dict[str, Any] | None:
    if (received := exchange.received) is None:
        return None
    unchanged = received.entry.body == exchange.seen.sent
    return {"pool": received.pool, "body_unchanged": unchanged, **received.entry.document()}


def _burst(burst: Burst) -> dict[str, Any]:
    return {
        "as_expected": burst.as_expected,
        "sent": len(burst.exchanges),
        "admitted": len(burst.admitted),
        "refused": len(burst.refused),
        "upstream_tokens": burst.upstream_tokens,
        "settled_usd": str(burst.settled_usd),
        "exchanges": [_exchange(exchange) for exchange in burst.exchanges],
    }


def _counter(counter: Counter) -> dict[str, Any]:
    return asdict(counter)
