"""One exchange's part of the budget filter: a lease is reserved on every budget at once, and settled, released or left standing."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.ext_proc.core.effects import Cause, Effect, Outcome, Release, Settle
from headrace.ext_proc.core.facts import ASKED, MODEL, ROUTE, Fact
from headrace.ext_proc.core.ledger import Admitted, Exhausted
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.ports import NeverSent, StoreUnavailable
from headrace.ext_proc.core.principal import ANONYMOUS, PRINCIPAL, known_members
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import EndStream, Session
from headrace.ext_proc.core.settlement import costs_nothing
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.terms import KEEPS_RESERVED, MAX_MODEL, PRICE, RESERVED, terms_of
from headrace.ext_proc.core.usage import FREE, Usage
from headrace.ext_proc.core.verdict import PASS, Continue, Reply, Verdict
from headrace.ext_proc.engine.budgets.limits import MINUTE_MS
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.tokens import Counted
from headrace.filters.budget.books import Books
from headrace.filters.budget.lease import Lease
from headrace.filters.budget.watch import Watch
from headrace.filters.budget.words import UNAVAILABLE, ran_dry, ratelimit, refusal, unpriced
from headrace.filters.routing import unknown_model


class BudgetSession(Session):
    """Where the gateway does not report usage, the usage filter has the answer read."""

    needs = Needs.REQUEST_BODY

    def __init__(self, books: Books, request: Request) -> None:
        self._books = books
        self._request = request
        self._lease: Lease | None = None
        """Set while the store may hold it."""
        self._watch: Watch | None = None
        self._counted = Counted(0)

    async def on_request(self, request: Request) -> Verdict:
        model = self._books.catalogue.of(request)
        if model is None:
            return unknown_model(request.call.model)
        self._counted = await self._books.tokens.of_request(request, model)
        lease = self._asked(request, model, self._reserved(model))
        amounts = lease.amounts
        if lease.price is None and self._books.in_money is not None:
            return unpriced(model.name, self._books.in_money.name)
        await self._books.adjustments.fresh()
        now_ms = self._books.clock.now_ms()
        slots = self._books.slots(lease.principal, model.name, now_ms // MINUTE_MS)
        lease.charges = self._books.adjustments.charges(lease.organisation, slots, amounts, now_ms)
        return await self._reserve(lease, now_ms)

    def _asked(self, request: Request, model: Model, usage: Usage) -> Lease:
        principal = request.facts.get(PRINCIPAL) or ANONYMOUS
        price = self._books.prices.of(model, request.call.model, usage.input_tokens)
        return Lease(request.id, principal, model, usage, price, self._books.ttl_ms)

    def _reserved(self, model: Model) -> Usage:
        return FREE if _asks_for_count(self._request) else Usage(self._counted.tokens, self._first(model))

    def _first(self, model: Model) -> int:
        """Tokens of answer that are reserved at first: all there may be, unless it is streamed and reserved step by step."""
        most, step = self._most(model), self._books.step_tokens
        return most if step is None or not self._request.call.stream else min(most, step)

    def _most(self, model: Model) -> int:
        """Tokens of answer that the request allows, or is taken to."""
        call = self._request.call
        return (model.max_output if call.output_cap is None else call.output_cap) * call.choices

    async def _reserve(self, lease: Lease, now_ms: int) -> Verdict:
        self._lease = lease  # before the call: when its reply is lost or not awaited, the store may hold the lease
        about = self._about(lease)
        answer: Admitted | Exhausted | None
        try:
            answer = await lease.reserve(self._books.store, now_ms, about)
        except StoreUnavailable as error:
            answer = lease.admit(self._books.store, self._books.local_percent, now_ms, about)
            if answer is None:
                return self._unanswered(lease, error)
        if isinstance(answer, Exhausted):
            self._lease = None
            return refusal(self._books.limits, lease.charges, answer, now_ms)
        if self._books.step_tokens is not None and self._request.call.stream:
            self._follow(lease, self._books.step_tokens)
        return self._admit(lease, answer, now_ms)

    def _unanswered(self, lease: Lease, error: StoreUnavailable) -> Verdict:
        if self._books.fails_open:
            return self._continue(lease, {}, [], "budget.unavailable")
        if isinstance(error, NeverSent):
            self._lease = None  # there is nothing to release, and an outage may refuse more than the queue of releases holds
        return UNAVAILABLE

    def _about(self, lease: Lease) -> Mapping[str, str]:
        """What the ledger says of a lease that lapses, besides what it charged."""
        request = self._request
        assert request.endpoint is not None, "other paths have no body that is read"
        asked = (request.facts.get(ASKED) or request.call.model)[:MAX_MODEL]
        kind = {"endpoint": request.endpoint._value_, "stream": "1" if request.call.stream else "0"}
        return {**known_members(lease.principal), **kind, "asked": asked, "model": lease.model.name}

    def _follow(self, lease: Lease, step: int) -> None:
        """The stream is read here, and its lease grows with it."""
        self.needs = Needs.REQUEST_BODY | Needs.RESPONSE_STREAM
        books, count = self._books, self._books.tokens.counter(lease.model)

        def ended(answer: Exhausted | None) -> Reply:
            return ran_dry(books.limits, lease.charges, answer)

        self._watch = Watch(
            held=lease.usage.output_tokens,
            step=step,
            most=None if self._request.call.output_cap is None else self._most(lease.model),
            count=lambda words: count([words]),
            extend=lambda tokens: lease.extend(books.store, books.clock, tokens),
            ended=ended,
            fails_open=books.fails_open,
        )

    def _admit(self, lease: Lease, answer: Admitted, now_ms: int) -> Continue:
        held = zip(self._books.limits, lease.charges, answer.remaining, strict=True)
        budgets = [
            {"budget": limit.name, "unit": limit.unit, "reserved": charge.amount, "remaining": left} for limit, charge, left in held
        ]
        return self._continue(lease, ratelimit(lease.charges, answer.remaining, now_ms), budgets, "budget.reserved")

    def _continue(self, lease: Lease, headers: dict[str, str], budgets: list[dict[str, Any]], reason: str) -> Continue:
        facts: dict[Fact[Any], Any] = {**self._counted.facts, MODEL: lease.model.name, RESERVED: lease.usage}
        return Continue(
            facts=facts if lease.price is None else {**facts, PRICE: lease.price},
            metadata=headers,
            note={"input_tokens": lease.usage.input_tokens, "output_cap": lease.usage.output_tokens, "budgets": budgets},
            reason=reason,
        )

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        if self._watch is None:
            return (event,)
        if (reply := self._watch.follow(event)) is not None:
            raise EndStream(reply)
        self.behind = self._watch.is_short
        return (event,)

    async def catch_up(self) -> Verdict:
        assert self._watch is not None, "only a stream that is watched falls behind"
        await self._watch.grow()
        self.behind = self._watch.is_short
        return PASS

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        lease = self._lease
        if lease is None or outcome.cause is Cause.HANDED_OFF:
            return ()
        usage, context = self._used(lease, outcome), self._context(outcome)
        if not outcome.forwarded or (usage is None and costs_nothing(outcome.status, reached_upstream=True)):
            return [Release(lease.organisation, lease.id, context)]
        return [Settle(lease.organisation, lease.id, usage, lease.price, lease.usage, context)]

    def _used(self, lease: Lease, outcome: Outcome) -> Usage | None:
        """What the answer used, as far as it came through here; None where what was reserved must stand."""
        if _asks_for_count(self._request) and not (outcome.usage and outcome.usage.output_tokens):
            return None if costs_nothing(outcome.status, reached_upstream=True) else FREE
        if outcome.usage is not None:
            return outcome.usage
        if not outcome.streamed or self._request.facts.get(KEEPS_RESERVED):
            return None
        counted = self._books.tokens.of_answer(outcome.streamed, lease.model)
        return Usage(outcome.input_tokens or lease.usage.input_tokens, counted)

    def _context(self, outcome: Outcome) -> dict[str, Any]:
        """What the settlement's record shows besides, as one from the access log does."""
        seen = {"route": self._request.facts.get(ROUTE), "status": outcome.status}
        return {**terms_of(self._request).members, **{name: value for name, value in seen.items() if value is not None}}


def _asks_for_count(request: Request) -> bool:
    return request.endpoint is not None and request.endpoint.counts
