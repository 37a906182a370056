"""Which of the offers that hold a request comes first: by the first preference that tells them apart, then by the next."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from math import inf, log
from typing import Any, Final, NamedTuple

from headrace.ext_proc.core.json_body import encode
from headrace.ext_proc.core.principal import PRINCIPAL, members_of
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.load.latency import Latency
from headrace.ext_proc.engine.policy.pools import Kind
from headrace.ext_proc.engine.prices import usd
from headrace.filters.routing.complexity import Scorer
from headrace.filters.routing.settings import Preference, RoutingSettings
from headrace.filters.routing.weighing import Weighed

AS_QUICK: Final = 1.25
"""Times the quickest average up to which an offer counts as equally quick: closer ones differ by chance."""

PROBES: Final = 20
"""One request in so many tries an offer that has not been seen lately."""

BEST_FIRST: Final[Mapping[Kind, Sequence[Kind | None]]] = {
    "small": ("small", None, "large", "code"),
    "large": ("large", None, "code", "small"),
    "code": ("code", "large", None, "small"),
}
"""What a request of a kind goes to, best first; None: a model that suits any."""


class Ordered(NamedTuple):
    """The offers, best first. reason: the preference that told the first from others; None: none did. note: for the decision."""

    offers: Sequence[Weighed]
    reason: str | None
    note: Mapping[str, Any]


class Ranking(NamedTuple):
    """One preference: the less the better, for each offer in turn, and why in words. note: for the decision."""

    ranks: Sequence[float | tuple[float, ...]]
    words: Sequence[str]
    note: Mapping[str, Any] = {}


class Preferences:
    """Of one group of callers."""

    def __init__(self, settings: RoutingSettings, latency: Latency) -> None:
        self._scorer = Scorer(settings.complexity)
        self._latency = latency
        rankings: Mapping[Preference, Callable[[Request, Sequence[Weighed], int], Ranking]] = {
            "complexity": self._complexity,
            "price": self._price,
            "latency": self._quickness,
            "weight": self._weight,
        }
        self._rankings = [(name, rankings[name]) for name in dict.fromkeys(settings.prefer)]
        self._by_offers_alone = {*settings.prefer} <= {"complexity", "weight"}

    def order(self, request: Request, offers: Sequence[Weighed], now_ms: int) -> Ordered:
        """offers: those that hold the request, in the policy's order, which decides what no preference does."""
        if len(offers) < 2 or (self._by_offers_alone and all(one.offer.is_plain for one in offers)):
            return Ordered(offers, None, {})
        found = [(name, ranking(request, offers, now_ms)) for name, ranking in self._rankings]
        telling = [(name, one) for name, one in found if len(set(one.ranks)) > 1]
        if not telling:
            return Ordered(offers, None, {})
        places = sorted(range(len(offers)), key=lambda place: tuple(one.ranks[place] for _, one in telling))
        reason = next((f"routing.{name}" for name, one in telling if set(one.ranks) != {one.ranks[places[0]]}), None)
        said = [_with_words(offer, [one.words[place] for _, one in telling]) for place, offer in enumerate(offers)]
        note = {name: value for _, one in telling for name, value in one.note.items()}
        return Ordered([said[place] for place in places], reason, note)

    def _complexity(self, request: Request, offers: Sequence[Weighed], _: int) -> Ranking:
        if len({one.offer.suits for one in offers}) < 2:
            return Ranking([0] * len(offers), [])
        scored = self._scorer.of(request.document or {})
        order = BEST_FIRST[scored.kind]
        words = [f"suits {one.offer.suits or 'any'} requests" for one in offers]
        return Ranking([order.index(one.offer.suits) for one in offers], words, {"complexity": scored.note})

    def _price(self, _: Request, offers: Sequence[Weighed], __: int) -> Ranking:
        costs = [usd(Usage(one.asked.prompt, one.asked.answer * one.asked.choices), one.asked.price) for one in offers]
        words = ["has no known price" if cost is None else f"costs up to {cost.normalize():f} USD" for cost in costs]
        return Ranking([inf if cost is None else float(cost) for cost in costs], words)

    def _quickness(self, request: Request, offers: Sequence[Weighed], now_ms: int) -> Ranking:
        """An offer that has not been seen lately comes last, but for one request in PROBES: else it would never be seen again."""
        seen = [self._latency.of(one.upstream, one.offer.model.name, now_ms) for one in offers]
        bound = AS_QUICK * min((ms for ms in seen if ms is not None), default=0.0)
        unseen = -1.0 if _number(request.id.encode()) % PROBES == 0 else inf
        words = ["has not answered lately" if ms is None else f"begins to answer after {ms:.0f} ms" for ms in seen]
        return Ranking([unseen if ms is None else 0.0 if ms <= bound else ms for ms in seen], words)

    def _weight(self, request: Request, offers: Sequence[Weighed], _: int) -> Ranking:
        if all(one.offer.weight is None and (one.pool is None or one.pool.weight is None) for one in offers):
            return Ranking([0] * len(offers), [])
        whom = _sticky(request)
        ranks = [
            (
                _drawn(one.offer.weight, whom, request.call.model, one.offer.name),
                _drawn(one.pool.weight if one.pool else None, whom, one.offer.name, one.upstream),
            )
            for one in offers
        ]
        return Ranking(ranks, [f"weighs {_weight_of(one)}" for one in offers])


def _with_words(offer: Weighed, words: Sequence[str]) -> Weighed:
    return offer._replace(why="; ".join((offer.why, *words)))


def _weight_of(one: Weighed) -> str:
    weights = (one.offer.weight, one.pool.weight if one.pool else None)
    return " and ".join(str(weight) for weight in weights if weight is not None) or "nothing"


def _sticky(request: Request) -> bytes:
    """Who calls: the same caller is drawn the same offer. Nobody in particular is drawn anew for each request."""
    principal = request.facts.get(PRINCIPAL)
    members = members_of(principal) if principal is not None else {}
    named = {level: value for level, value in members.items() if level != "organisation"}
    return encode(sorted(members.items())) if named else request.id.encode()


def _drawn(weight: int | None, *whom: bytes | str) -> float:
    """Weighted rendezvous hashing: the least of -ln(u)/weight wins with a chance in proportion to its weight, and a weight that
    changes moves no more callers than it must (Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005).
    """
    if not weight:
        return inf
    parts = b"\0".join(part if isinstance(part, bytes) else part.encode("utf-8", "surrogatepass") for part in whom)
    return -log((_number(parts) + 1) / (2**64 + 1)) / weight


def _number(data: bytes) -> int:
    """Of 64 bits, the same for the same bytes."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")
