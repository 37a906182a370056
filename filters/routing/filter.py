"""Sends a request to the first pool of its model that holds the prompt and the answer."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from msgspec.structs import replace
from pydantic import Field

from headrace.ext_proc.core.facts import INPUT_TOKENS, MODEL, ROUTE, Fact
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.verdict import Continue, Edits, Reply, Verdict
from headrace.ext_proc.engine.policy.models import Model, Pool
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.settings import FilterSettings
from headrace.ext_proc.engine.tokens import Tokens
from headrace.filters.routing.failover import Candidates, Failover
from headrace.filters.routing.servers import Placed, Servers, need_of, subset_of

HEADER = "x-headrace-route"
"""Names the upstream for the gateway's route table, which removes it before the upstream sees the request."""


class RoutingSettings(FilterSettings):
    """The pools are in the policy's model catalogue."""

    failover: Failover | None = Field(
        None, description="Where a pool fails, the next one that holds the request is asked. Absent: its failure is the answer."
    )


class RoutingFilter:
    """One per policy revision."""

    name: ClassVar[str] = "routing"
    Settings: ClassVar[type[FilterSettings]] = RoutingSettings

    def __init__(self, settings: RoutingSettings, build: Build) -> None:
        self.catalogue = build.catalogue
        self.clock = build.ports.clock
        self.servers = Servers(build.document.upstreams, build.ports.load)
        self.candidates = Candidates(settings.failover, build.catalogue)
        self.tokens = Tokens(build.base, build.ports.offload)

    def open(self, request: Request) -> Session:
        return RoutingSession(self)


class RoutingSession(Session):
    needs = Needs.REQUEST_BODY

    def __init__(self, filter: RoutingFilter) -> None:
        self._filter = filter

    async def on_request(self, request: Request) -> Verdict:
        call = request.call
        model = self._filter.catalogue.find(call.model)
        if model is None:
            return unknown_model(call.model)
        prompt = await self._filter.tokens.of_request(request, model)
        each = model.max_output if call.output_cap is None else call.output_cap
        if model.context is not None and prompt + each > model.context:
            return _too_long(model.context, prompt, each)
        return self._placed(request, model, _place(model, prompt, each * call.choices))

    def _placed(self, request: Request, model: Model, verdict: Verdict) -> Verdict:
        """The verdict with the servers and the further candidates, where the request goes to a pool at all."""
        if not isinstance(verdict, Continue) or ROUTE not in verdict.facts:
            return verdict
        prompt, tokens = verdict.note["input_tokens"], verdict.note["input_tokens"] + verdict.note["output_cap"]
        need, now_ms = need_of(request, tokens), self._filter.clock.now_ms()
        fitting = [pool for pool in model.pools if _holds(pool, tokens)]
        placed = self._filter.servers.place(fitting, need, now_ms, subset_of(request.hint))
        if isinstance(placed, Reply):
            return replace(placed, note=verdict.note)
        first = placed[0]
        self._filter.servers.sent(first, need, now_ms)
        told = self._filter.candidates.told(request, model, [one.pool for one in placed], prompt)
        return _going_to(first, verdict, {**first.metadata(self._filter.candidates.attempts), **told})


def _place(model: Model, prompt: int, answer: int) -> Verdict:
    """answer: tokens that may be generated, over all choices."""
    need = prompt + answer
    note = {"input_tokens": prompt, "output_cap": answer, "candidates": _candidates(model.pools, need)}
    facts: dict[Fact[Any], Any] = {INPUT_TOKENS: prompt, MODEL: model.name}
    if not model.pools:
        return Continue(facts=facts, note=note, reason="routing.no_pools")
    pool = next((pool for pool in model.pools if _holds(pool, need)), None)
    if pool is None:
        return _too_large(model.pools, prompt, answer, note)
    reason = "routing.first_pool" if pool is model.pools[0] else "routing.prompt_size"
    return Continue(
        Edits(set_headers={HEADER: pool.upstream}, reroute=True),
        facts={**facts, ROUTE: pool.upstream},
        metadata={"route": pool.upstream, "reason": reason},
        note=note,
        reason=reason,
    )


def _going_to(placed: Placed, verdict: Continue, told: Mapping[str, str | int]) -> Continue:
    """The verdict with its pool, unless that has no room: then with the next one that has."""
    upstream = placed.pool.upstream
    if upstream == verdict.facts[ROUTE]:
        return replace(verdict, metadata={**verdict.metadata, **told})
    return replace(
        verdict,
        edits=replace(verdict.edits, set_headers={HEADER: upstream}),
        facts={**verdict.facts, ROUTE: upstream},
        metadata={**verdict.metadata, "route": upstream, "reason": "routing.load", **told},
        reason="routing.load",
    )


def _holds(pool: Pool, need: int) -> bool:
    return pool.max_tokens is None or need <= pool.max_tokens


def _candidates(pools: Sequence[Pool], need: int) -> list[dict[str, Any]]:
    return [{"upstream": pool.upstream, "max_tokens": pool.max_tokens, "fits": _holds(pool, need)} for pool in pools]


def unknown_model(name: str) -> Reply:
    """The refusal of a model that the catalogue does not have."""
    return Reply(403, "model.not_allowed", f"The model {name[:100]!r} is not available through this gateway.", param="model")


def _too_long(context: int, prompt: int, answer: int) -> Reply:
    message = (
        f"This model's context is {context} tokens. Your request needs {prompt + answer}: {prompt} in the prompt and "
        f"{answer} for the answer. Shorten the prompt or lower max_tokens."
    )
    return Reply(400, "context.exceeded", message, note={"input_tokens": prompt, "output_cap": answer, "context": context})


def _too_large(pools: Sequence[Pool], prompt: int, answer: int, note: dict[str, Any]) -> Reply:
    most = max(pool.max_tokens for pool in pools if pool.max_tokens is not None)
    message = (
        f"No pool holds this request: it needs {prompt + answer} tokens ({prompt} in the prompt, {answer} for the answer) "
        f"and the largest pool takes {most}. Shorten the prompt or lower max_tokens."
    )
    return Reply(413, "routing.too_large", message, note=note)
