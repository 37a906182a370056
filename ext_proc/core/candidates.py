"""The upstreams that may answer one request, in order, as the gateway is told of them and as a settlement reads them back."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import structs

from headrace.ext_proc.core.effects import Effect, Record, Release
from headrace.ext_proc.core.price import Price, is_price

KEY: Final = "candidates"
FIRST_TOKEN_KEY: Final = "first_token_ms"
"""Milliseconds after which the next candidate is asked, where an answer is a stream and has not begun."""

PICKED_KEY: Final = "servers"
"""The servers to ask, as ip:port, best first, joined by commas."""

FAILOVER: Final = "routing.failover"
"""The reason why another upstream answered than the one that was chosen."""

MAX_CANDIDATES: Final = 8
"""Attempts of one request; each of them may hold a prompt in some upstream's memory."""


class Candidate(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An upstream, the model that it serves the request with, and what that model costs; None where that is unknown.

    efforts: of reasoning that the model takes.
    """

    upstream: str
    model: str
    price: Price | None = None
    efforts: tuple[str, ...] = ()


def candidates_metadata(candidates: Sequence[Candidate], first_token_ms: int | None = None) -> Mapping[str, str | int]:
    """What the gateway is told, in the order in which it is to ask them."""
    told: dict[str, str | int] = {KEY: msgspec.json.encode(candidates).decode()}
    return told if first_token_ms is None else {**told, FIRST_TOKEN_KEY: first_token_ms}


def candidates_of(metadata: Mapping[str, Any]) -> Sequence[Candidate]:
    """The other direction; empty where there are none, or what is there is not ours."""
    told = metadata.get(KEY)
    if not isinstance(told, str):
        return ()
    try:
        found = _DECODER.decode(told)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return ()
    return found if all(one.price is None or is_price(one.price) for one in found) else ()


_DECODER: Final = msgspec.json.Decoder(list[Candidate])


class Answered(msgspec.Struct, frozen=True):
    """Who answered, and which upstreams had been asked before, in vain."""

    by: Candidate
    failed: Sequence[str]

    @property
    def members(self) -> Mapping[str, Any]:
        """For records."""
        return {"route": self.by.upstream, "served": self.by.model, **({"failed": self.failed} if self.failed else {})}


def answered(metadata: Mapping[str, Any], upstream: str) -> Answered | None:
    """None where the gateway was told of no such candidate."""
    asked = candidates_of(metadata)
    place = next((place for place, one in enumerate(asked) if one.upstream == upstream), None)
    return None if place is None else Answered(asked[place], [one.upstream for one in asked[:place]])


def settled_as(effect: Effect, answer: Answered | None) -> Effect:
    """A settlement at the price of the candidate that answered; whatever becomes of the lease, with its name."""
    if answer is None or isinstance(effect, Record):
        return effect
    context = {**effect.context, **answer.members, **({"reason": FAILOVER} if answer.failed else {})}
    if isinstance(effect, Release):
        return structs.replace(effect, context=context)
    price = effect.price if effect.usage is None else answer.by.price  # without usage, what was reserved stands at its price
    return structs.replace(effect, price=price, context=context)
