"""Sends a request to the offer that comes first of those that may serve it: a pool, and the model that is served there."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace

from headrace.ext_proc.core.effects import Effect, Outcome
from headrace.ext_proc.core.facts import ASKED, ESTIMATED, INPUT_TOKENS, MODEL, ROUTE, Fact
from headrace.ext_proc.core.needs import Capability, Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.terms import PRICE
from headrace.ext_proc.core.verdict import Continue, Edits, Reply, SetMember, Verdict
from headrace.ext_proc.engine.load.board import Need
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.settings import FilterSettings
from headrace.ext_proc.engine.tokens import Tokens
from headrace.filters.routing import counting
from headrace.filters.routing.failover import Candidates
from headrace.filters.routing.memory import Memory, ShapeError, memory_of, read_shape
from headrace.filters.routing.offers import Offer, Offers
from headrace.filters.routing.preferences import Ordered, Preferences
from headrace.filters.routing.refusals import refusal, unknown_model
from headrace.filters.routing.servers import Placed, Servers, need_of, subset_of
from headrace.filters.routing.settings import RoutingSettings
from headrace.filters.routing.weighing import OF_COUNTS, Asked, Weighed, Weighing

HEADER = "x-headrace-route"
"""Names the upstream for the gateway's route table, which removes it before the upstream sees the request."""


def _memories(build: Build) -> Iterator[tuple[int, Memory]]:
    """The KV cache of every pool whose GPUs are known."""
    for index, model in enumerate(build.document.models):
        if model.shape is None:
            continue
        where = ("models", index, "shape")
        try:
            shape = read_shape(build.base / model.shape)
        except OSError:
            continue  # reported for every file of a policy
        except ShapeError as error:
            build.problem(where, f"{build.base / model.shape}: {error}")
            continue
        for place, pool in enumerate(model.pools):
            if pool.gpus is None:
                continue
            memory = memory_of(shape, pool.gpus)
            if not memory.most:
                build.problem((*where[:2], "pools", place, "gpus"), "leave no room for a KV cache: the weights take it all")
            yield id(pool), memory


class RoutingFilter:
    """One per policy revision."""

    name: ClassVar[str] = "routing"
    Settings: ClassVar[type[FilterSettings]] = RoutingSettings

    def __init__(self, settings: RoutingSettings, build: Build) -> None:
        upstreams = build.document.upstreams
        self.catalogue = build.catalogue
        self.clock = build.ports.clock
        self.latency = build.ports.latency
        self.lengths = build.ports.load.lengths
        self.offers = Offers(build.catalogue)
        self.needs = counting.Needs(Tokens(build.base, build.ports.offload, build.ports.ratios), build.catalogue)
        self.servers = Servers(upstreams, build.ports.load)
        self.weighing = Weighing(upstreams, settings.tags, dict(_memories(build)), settings.accept, settings.max_price)
        self.preferences = Preferences(settings, build.ports.latency)
        self.candidates = Candidates(settings.failover)
        self.follows_load = any(one.metrics for one in upstreams.values())
        self.may_skip_counting = "price" not in settings.prefer and not self.follows_load

    def open(self, request: Request) -> Session:
        return RoutingSession(self)

    def need_of(self, request: Request, first: Weighed) -> Need:
        """What the offer that comes first takes of a server."""
        if not self.follows_load:
            return Need(first.asked.need)
        return need_of(request, first.asked, self.lengths.of(first.offer.model.name))


class RoutingSession(Session):
    needs = Needs.REQUEST_BODY
    joins = Needs.RESPONSE_STREAM

    def __init__(self, filter: RoutingFilter) -> None:
        self._filter = filter
        self._opened_ms = filter.clock.now_ms()
        self._need: Need | None = None
        self._placed: tuple[str, str] | None = None
        """Upstream and model, until the first event of a stream has come from there."""

    async def on_request(self, request: Request) -> Verdict:
        asked = request.call.model
        model = self._filter.catalogue.find(asked)
        if model is None:
            return unknown_model(asked)
        for other in request.call.others:
            if self._filter.catalogue.find(other.model) is None:
                return unknown_model(other.model, other.param)
        now_ms = self._filter.clock.now_ms()
        offers = self._filter.offers.of(model, asked, now_ms)
        weighed = self._uncounted(request, offers)
        if weighed is None:
            weighed = self._filter.weighing.weigh(await self._filter.needs.of(request, model, offers))
        fitting = [one for one in weighed if one.reason is None]
        if not fitting:
            return refusal(asked, weighed, self._filter.weighing.most_of, _note(asked, weighed, weighed[0]))
        ordered = self._filter.preferences.order(request, fitting, now_ms)
        told = weighed if ordered.offers is fitting else _told(weighed, ordered.offers)
        return self._place(request, ordered, told, now_ms)

    def _uncounted(self, request: Request, offers: Sequence[Offer]) -> Sequence[Weighed] | None:
        """The offers weighed by the prompt's bytes, where its tokens could change nothing."""
        if not self._filter.may_skip_counting or request.facts.get(INPUT_TOKENS) is not None:
            return None
        if Capability.TRIAL in request.capabilities:
            return None
        weighed = self._filter.weighing.weigh(self._filter.needs.at_most(request, offers))
        return weighed if weighed and all(one.reason not in OF_COUNTS for one in weighed) else None

    def _place(self, request: Request, ordered: Ordered, weighed: Sequence[Weighed], now_ms: int) -> Verdict:
        """The verdict with the first of the offers whose servers have room, and with the further candidates.

        weighed: every offer, for the decision.
        """
        first = ordered.offers[0]
        note = {**_note(request.call.model, weighed, first), **ordered.note}
        if first.pool is None:
            return _continue(request, first, note, "routing.no_pools")
        need = self._filter.need_of(request, first)
        pools = [one.pool for one in ordered.offers if one.pool is not None]
        placed = self._filter.servers.place(pools, need, now_ms, subset_of(request.hint))
        if isinstance(placed, Reply):
            return replace(placed, note=note)
        self._sent(placed[0], need, now_ms)
        chosen = ordered.offers
        if len(placed) < len(chosen):
            free = {id(one.pool) for one in placed}
            chosen = [one for one in chosen if id(one.pool) in free]
        self._placed = (chosen[0].upstream, chosen[0].offer.model.name)
        reason = _reason(weighed, ordered) if chosen[0] is first else "routing.load"
        told = self._filter.candidates.told(request, chosen, _name_sent(request, chosen[0]))
        return _continue(request, chosen[0], note, reason, {**placed[0].metadata(self._filter.candidates.attempts), **told})

    def _sent(self, placed: Placed, need: Need, now_ms: int) -> None:
        self._need = need
        self._filter.servers.sent(placed, need, now_ms)

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        """The first one of a stream that passes through here says how soon the answer began."""
        if self._placed is not None:
            now_ms = self._filter.clock.now_ms()
            self._filter.latency.seen(*self._placed, now_ms - self._opened_ms, now_ms)
            self._placed = None
        return (event,)

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        if self._need is not None and outcome.server:
            self._filter.servers.answered(outcome.server, self._need, self._filter.clock.now_ms())
        return ()


def _note(asked: str, weighed: Sequence[Weighed], first: Weighed) -> dict[str, Any]:
    """For the decision; the tokens are those of `first`'s model. The gateway's own route is a candidate among others alone."""
    alone = len(weighed) == 1 and first.pool is None and first.reason is None
    return {
        **_said(first.asked),
        "output_cap": first.asked.answer * first.asked.choices,
        "candidates": [] if alone else [one.note(asked) for one in weighed],
    }


def _told(weighed: Sequence[Weighed], ordered: Sequence[Weighed]) -> Sequence[Weighed]:
    """Every offer in the policy's order, with what the preferences say of those that they put in order."""
    said = {(one.offer.name, id(one.pool)): one for one in ordered}
    return [said.get((one.offer.name, id(one.pool)), one) for one in weighed]


def _reason(weighed: Sequence[Weighed], ordered: Ordered) -> str:
    """The preference that decided, or the rule by which the first of all offers fell."""
    return ordered.reason or weighed[0].reason or "routing.first_pool"


def _name_sent(request: Request, chosen: Weighed) -> str:
    """The model's name in the body. What its pool calls it is written at the attempt, where the gateway calls there."""
    return chosen.offer.name if Capability.FAILOVER in request.capabilities else chosen.served


def _continue(
    request: Request, chosen: Weighed, note: Mapping[str, Any], reason: str, metadata: Mapping[str, str | int] | None = None
) -> Continue:
    asked, sent, upstream = request.call.model, _name_sent(request, chosen), chosen.upstream
    members = [SetMember(("model",), sent)] if sent != asked else []
    headers = {HEADER: upstream} if upstream else {}
    facts = {**_known(chosen.asked), MODEL: chosen.offer.model.name, ASKED: asked}
    if sent != asked and chosen.asked.price is not None:  # what is settled; a budget before this filter has reserved more or less
        facts[PRICE] = chosen.asked.price
    return Continue(
        Edits(set_headers=headers, members=members, reroute=bool(upstream)),
        facts={**facts, ROUTE: upstream} if upstream else facts,
        metadata={"route": upstream, "reason": reason, **(metadata or {})} if upstream else {},
        note=note,
        reason=reason,
    )


def _known(asked: Asked) -> dict[Fact[Any], Any]:
    return {INPUT_TOKENS: asked.prompt, ESTIMATED: asked.estimate} if asked.counted else {}


def _said(asked: Asked) -> Mapping[str, int]:
    """For the decision."""
    if not asked.counted:
        return {"input_tokens_at_most": asked.prompt}
    return {"input_tokens": asked.prompt, **({} if asked.estimate is None else {"estimated": asked.estimate})}
