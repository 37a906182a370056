"""Sends a request to the first pool of its model that holds the prompt and the answer."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar

from msgspec.structs import replace
from pydantic import Field

from headrace.ext_proc.core.effects import Effect, Outcome
from headrace.ext_proc.core.facts import INPUT_TOKENS, MODEL, PLACEMENT, ROUTE, Fact
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.verdict import Continue, Edits, Reply, Verdict
from headrace.ext_proc.engine.load.board import Need
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.policy.pools import Pool
from headrace.ext_proc.engine.policy.values import Identifier
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.settings import FilterSettings
from headrace.ext_proc.engine.tokens import Tokens
from headrace.filters.routing.failover import Candidates, Failover
from headrace.filters.routing.memory import Memory, ShapeError, memory_of, read_shape
from headrace.filters.routing.servers import Servers, need_of, subset_of
from headrace.filters.routing.weighing import Asked, Weighing

HEADER = "x-headrace-route"
"""Names the upstream for the gateway's route table, which removes it before the upstream sees the request."""


class RoutingSettings(FilterSettings):
    """The pools are in the policy's model catalogue."""

    failover: Failover | None = Field(
        None, description="Where a pool fails, the next one that holds the request is asked. Absent: its failure is the answer."
    )
    tags: tuple[Identifier, ...] = Field(
        (), description="Only pools whose upstream has all of these tags: `overrides` keeps a tenant in the EU with [eu]."
    )


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
        self.catalogue = build.catalogue
        self.clock = build.ports.clock
        self.servers = Servers(build.document.upstreams, build.ports.load)
        self.weighing = Weighing(build.document.upstreams, settings.tags, dict(_memories(build)))
        self.candidates = Candidates(settings.failover, build.catalogue)
        self.tokens = Tokens(build.base, build.ports.offload)

    def open(self, request: Request) -> Session:
        return RoutingSession(self)


class RoutingSession(Session):
    needs = Needs.REQUEST_BODY

    def __init__(self, filter: RoutingFilter) -> None:
        self._filter = filter
        self._need: Need | None = None

    async def on_request(self, request: Request) -> Verdict:
        call = request.call
        model = self._filter.catalogue.find(call.model)
        if model is None:
            return unknown_model(call.model)
        if model.sunset is not None and self._filter.clock.now_ms() >= _midnight_ms(model.sunset):
            return _gone(call.model, model.sunset)
        prompt = await self._filter.tokens.of_request(request, model)
        each = model.max_output if call.output_cap is None else call.output_cap
        if model.context is not None and prompt + each > model.context:
            return _too_long(model.context, prompt, each)
        return self._place(request, model, Asked(prompt, each, call.choices, request.facts.get(PLACEMENT)))

    def _place(self, request: Request, model: Model, asked: Asked) -> Verdict:
        weighed = self._filter.weighing.weigh(model, asked)
        note = {
            "input_tokens": asked.prompt,
            "output_cap": asked.answer * asked.choices,
            "candidates": [one.note for one in weighed],
        }
        if not weighed:
            return self._without_pools(model, asked, note)
        fitting = [one.pool for one in weighed if one.reason is None]
        if not fitting:
            return self._filter.weighing.none_holds(weighed, asked, note)
        reason = "routing.first_pool" if weighed[0].reason is None else weighed[0].reason
        return self._placed(request, model, asked, fitting, Continue(note=note, reason=reason))

    def _without_pools(self, model: Model, asked: Asked, note: dict[str, Any]) -> Verdict:
        """The gateway's own route: not for what may go to some upstreams alone."""
        if asked.only is not None:
            return self._filter.weighing.none_holds((), asked, note)
        return Continue(facts=_known(asked, model), note=note, reason="routing.no_pools")

    def _placed(self, request: Request, model: Model, asked: Asked, fitting: Sequence[Pool], verdict: Continue) -> Verdict:
        """The verdict with the first of the pools whose servers have room, and with the further candidates."""
        need, now_ms = need_of(request, asked.need), self._filter.clock.now_ms()
        placed = self._filter.servers.place(fitting, need, now_ms, subset_of(request.hint))
        if isinstance(placed, Reply):
            return replace(placed, note=verdict.note)
        first, self._need = placed[0], need
        self._filter.servers.sent(first, need, now_ms)
        told = self._filter.candidates.told(request, model, [one.pool for one in placed], asked.prompt)
        upstream, reason = first.pool.upstream, verdict.reason if first.pool is fitting[0] else "routing.load"
        return Continue(
            Edits(set_headers={HEADER: upstream}, reroute=True),
            facts={**_known(asked, model), ROUTE: upstream},
            metadata={"route": upstream, "reason": reason, **first.metadata(self._filter.candidates.attempts), **told},
            note=verdict.note,
            reason=reason,
        )

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        if self._need is not None and outcome.server:
            self._filter.servers.answered(outcome.server, self._need, self._filter.clock.now_ms())
        return ()


def _known(asked: Asked, model: Model) -> dict[Fact[Any], Any]:
    return {INPUT_TOKENS: asked.prompt, MODEL: model.name}


def unknown_model(name: str) -> Reply:
    """The refusal of a model that the catalogue does not have."""
    return Reply(403, "model.not_allowed", f"The model {name[:100]!r} is not available through this gateway.", param="model")


def _midnight_ms(day: str) -> int:
    """With which the day begins, in UTC; epoch milliseconds."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


def _gone(name: str, day: str) -> Reply:
    message = f"The model {name[:100]!r} has not been served since {day}. Ask your platform team which model takes its place."
    return Reply(404, "model.sunset", message, param="model", note={"sunset": day})


def _too_long(context: int, prompt: int, answer: int) -> Reply:
    message = (
        f"This model's context is {context} tokens. Your request needs {prompt + answer}: {prompt} in the prompt and "
        f"{answer} for the answer. Shorten the prompt or lower max_tokens."
    )
    return Reply(400, "context.exceeded", message, note={"input_tokens": prompt, "output_cap": answer, "context": context})
