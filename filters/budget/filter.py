"""The budget filter: a lease is reserved on every budget at once, and settled, released or left standing at the end."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

from pydantic import Field

from headrace.ext_proc.core.effects import Cause, Effect, Outcome, Release, Settle
from headrace.ext_proc.core.endpoint import Dialect
from headrace.ext_proc.core.facts import INPUT_TOKENS, MODEL, ROUTE, Fact
from headrace.ext_proc.core.ledger import Admitted, Charge, Exhausted, Spent
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.principal import ANONYMOUS, PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.settlement import costs_nothing
from headrace.ext_proc.core.terms import PRICE, RESERVED, terms_of
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.core.verdict import Continue, Reply, Verdict
from headrace.ext_proc.engine.policy.models import Model, PolicyDocument
from headrace.ext_proc.engine.prices import Prices, spent_of
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.settings import FilterSettings
from headrace.ext_proc.engine.tokens import Tokens
from headrace.filters.budget.limits import MINUTE_MS, Slot, limits_of
from headrace.filters.budget.words import ratelimit, refusal
from headrace.filters.routing import unknown_model


class BudgetSettings(FilterSettings):
    """The budgets themselves are in the policy's list `budgets`."""

    on_store_down: Literal["closed", "open"] = Field(
        "closed",
        description="What happens while the store does not answer. closed: requests are refused with 503. open: they go on and "
        "are not counted, unless the store took the reservation after all.",
    )
    lease_seconds: int = Field(
        3600,
        ge=60,
        le=7 * 86_400,
        description="How long an answer may take. A lease that is not settled by then stands at what was reserved.",
    )


class BudgetFilter:
    """One per policy revision and variant of its settings."""

    name: ClassVar[str] = "budget"
    Settings: ClassVar[type[FilterSettings]] = BudgetSettings

    def __init__(self, settings: BudgetSettings, build: Build) -> None:
        self.settings = settings
        self.catalogue = build.catalogue
        self.prices = Prices(build.catalogue)
        self.limits = limits_of(build.document, build.problem)
        self.slots = lru_cache(4096)(self._slots)
        self.tokens = Tokens(build.base, build.ports.offload)
        self.store = build.ports.store
        self.clock = build.ports.clock
        self.counts_hang_ups = _counts_hang_ups(build.document)

    def open(self, request: Request) -> Session:
        return BudgetSession(self, request)

    def _slots(self, principal: Principal, model: str, minute: int) -> Sequence[Slot]:
        return [limit.slot(principal, model, minute) for limit in self.limits]


def _counts_hang_ups(document: PolicyDocument) -> bool:
    """Whether the usage filter is told, for anybody, to count what was streamed before a client hung up."""
    entries = [*document.filters, *(override.set for override in document.overrides)]
    return any(entry.get("usage", {}).get("on_hang_up") == "count" for entry in entries)


@dataclass(frozen=True, slots=True)
class Lease:
    """What was asked of the store. usage: the most the request may use."""

    principal: Principal
    model: Model
    usage: Usage
    price: Price | None
    charges: Sequence[Charge]


class BudgetSession(Session):
    """The lease bears the exchange's id. Where the gateway does not report usage, the usage filter has the answer read."""

    needs = Needs.REQUEST_BODY

    def __init__(self, filter: BudgetFilter, request: Request) -> None:
        self._filter = filter
        self._request = request
        self._lease: Lease | None = None
        """Set while the store may hold it."""

    async def on_request(self, request: Request) -> Verdict:
        model = self._filter.catalogue.find(request.call.model)
        if model is None:
            return unknown_model(request.call.model)
        usage = await self._most(request, model)
        price = self._filter.prices.of(model, request.call.model, usage.input_tokens)
        amounts: Spent = {**spent_of(usage, price), "requests": 1}
        unpriced = next((limit for limit in self._filter.limits if limit.unit not in amounts), None)
        if unpriced is not None:
            return _unpriced(model, unpriced.name)
        now_ms = self._filter.clock.now_ms()
        principal = request.facts.get(PRINCIPAL) or ANONYMOUS
        charges = [slot.charge(amounts) for slot in self._filter.slots(principal, model.name, now_ms // MINUTE_MS)]
        return await self._reserve(Lease(principal, model, usage, price, charges), now_ms)

    async def _most(self, request: Request, model: Model) -> Usage:
        call = request.call
        prompt = await self._filter.tokens.of_request(request, model)
        each = model.max_output if call.output_cap is None else call.output_cap
        return Usage(prompt, each * call.choices)

    async def _reserve(self, lease: Lease, now_ms: int) -> Verdict:
        self._lease = lease  # before the call: when its reply is lost or not awaited, the store may hold the lease
        organisation, ttl_ms = lease.principal.organisation, self._filter.settings.lease_seconds * 1000
        try:
            answer = await self._filter.store.reserve(
                organisation, self._request.id, lease.charges, now_ms=now_ms, ttl_ms=ttl_ms
            )
        except StoreUnavailable:
            return self._store_down(lease)
        if isinstance(answer, Exhausted):
            self._lease = None
            return refusal(self._filter.limits, lease.charges, answer, now_ms)
        return self._admit(lease, answer, now_ms)

    def _admit(self, lease: Lease, answer: Admitted, now_ms: int) -> Continue:
        held = zip(self._filter.limits, lease.charges, answer.remaining, strict=True)
        budgets = [
            {"budget": limit.name, "unit": limit.unit, "reserved": charge.amount, "remaining": left} for limit, charge, left in held
        ]
        return self._continue(lease, ratelimit(lease.charges, answer.remaining, now_ms), budgets, "budget.reserved")

    def _store_down(self, lease: Lease) -> Verdict:
        if self._filter.settings.on_store_down == "open":
            return self._continue(lease, {}, [], "budget.unavailable")
        message = "The gateway cannot check your budget at the moment, so the request was refused. Please try again."
        return Reply(503, "budget.unavailable", message, retry_after=1)

    def _continue(self, lease: Lease, headers: dict[str, str], budgets: list[dict[str, Any]], reason: str) -> Continue:
        facts: dict[Fact[Any], Any] = {INPUT_TOKENS: lease.usage.input_tokens, MODEL: lease.model.name, RESERVED: lease.usage}
        return Continue(
            facts=facts if lease.price is None else {**facts, PRICE: lease.price},
            metadata=headers,
            note={"input_tokens": lease.usage.input_tokens, "output_cap": lease.usage.output_tokens, "budgets": budgets},
            reason=reason,
        )

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        lease = self._lease
        if lease is None or outcome.cause is Cause.HANDED_OFF:
            return ()
        organisation, context = lease.principal.organisation, self._context(outcome)
        usage = self._used(lease, outcome)
        if not outcome.forwarded or (usage is None and costs_nothing(outcome.status, reached_upstream=True)):
            return [Release(organisation, self._request.id, context)]
        return [Settle(organisation, self._request.id, usage, lease.price, lease.usage, context)]

    def _used(self, lease: Lease, outcome: Outcome) -> Usage | None:
        """What the answer used, as far as it came through here; None where what was reserved must stand."""
        reported = outcome.usage
        # Anthropic reports usage from the first event on, so that of a stream cut short is no sum.
        if reported and (outcome.cause is Cause.COMPLETED or self._request.dialect is not Dialect.ANTHROPIC):
            return reported
        if not (self._filter.counts_hang_ups and outcome.streamed):
            return None
        counted = self._filter.tokens.of_answer(outcome.streamed, lease.model)
        return Usage(reported.input_tokens if reported else lease.usage.input_tokens, counted)

    def _context(self, outcome: Outcome) -> dict[str, Any]:
        """What the settlement's record shows besides, as one from the access log does."""
        seen = {"route": self._request.facts.get(ROUTE), "status": outcome.status}
        return {**terms_of(self._request).members, **{name: value for name, value in seen.items() if value is not None}}


def _unpriced(model: Model, budget: str) -> Reply:
    message = f"The model '{model.name}' has no price here, so it cannot be charged to the budget '{budget}'."
    return Reply(403, "budget.unpriced", message, param="model")
