"""Whatever callers, upstreams and gateways do, in any order: what is admitted and what is charged is what a plain model says.

The model knows what every lease holds; a budget's counter is the sum. Nothing of the filter, the settlement or the store is used
to compute it.
"""

import asyncio
import os
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from msgspec import structs

from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.events import Deliver, Proceed, Refuse, ResponseBody, ResponseHeaders
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.ledger import HELD, Sliding
from headrace.ext_proc.core.settlement import Finished, settlement
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.stores.memory import MemoryStore
from tests.filters.budget.support import ANN, BODY, NOW, PROMPT, SSE, Rig, chunk, error_of

LONG = os.environ.get("HEADRACE_LONG") == "1"
TOKENS, NANO_USD, REQUESTS, AT_ONCE = 900, 2_400_000, 25, 6
TTL_MS, MINUTE = 60_000, Sliding(60_000)
STEP = 16
BUDGETS = [
    {"name": "user-tokens", "per": ["team", "user"], "limit": {"tokens": TOKENS}, "window": "day"},
    {"name": "team-cost", "per": ["team"], "limit": {"usd": NANO_USD / 1e9}, "window": "day"},
    {"name": "team-rate", "per": ["team"], "limit": {"requests": REQUESTS}, "window": {"sliding": 60}},
    {"name": "user-at-once", "per": ["user"], "limit": {"concurrency": AT_ONCE}},
]
USERS = ("ann", "bob")


def cost(tokens: int) -> int:
    """nano-USD of a prompt and an answer of so many tokens together: 1 and 2 USD a million."""
    return PROMPT * 1_000 + (tokens - PROMPT) * 2_000


def wanted(passed: int, held: int, cap: int) -> int:
    """How many tokens more a stream asks for: a step, half a step ahead, and up to its request's cap unless it is past that."""
    if passed <= held - STEP // 2:
        return 0
    step = max(passed - held, 0) + STEP
    return step if passed > cap else min(step, cap - held)


@dataclass
class Lease:
    """tokens: what it has charged."""

    user: str
    at_ms: int
    tokens: int
    is_open: bool = True

    def runs(self, now_ms: int) -> bool:
        return self.is_open and now_ms < self.at_ms + TTL_MS

    def counts_as_request(self, now_ms: int) -> bool:
        return self.at_ms // 1_000 >= (now_ms - 60_000) // 1_000


@dataclass
class Model:
    now_ms: int = NOW
    leases: list[Lease] = field(default_factory=list)
    beyond: int = 0
    """Tokens that streams were charged for beyond what was held: the event that was too much, when it is cut; one past a cap."""

    def tokens(self, user: str) -> int:
        return sum(lease.tokens for lease in self.leases if lease.user == user)

    def nano_usd(self) -> int:
        return sum(cost(lease.tokens) for lease in self.leases if lease.tokens)

    def requests(self) -> int:
        return sum(lease.counts_as_request(self.now_ms) for lease in self.leases if lease.tokens)

    def running(self, user: str) -> int:
        return sum(lease.runs(self.now_ms) for lease in self.leases if lease.user == user)

    def fits(self, user: str, more: int, new: bool) -> bool:
        """Whether every budget holds so many tokens more, of a new request or of one that runs."""
        money = cost(more) if new else more * 2_000
        held = self.tokens(user) + more <= TOKENS and self.nano_usd() + money <= NANO_USD
        return held and (not new or (self.requests() < REQUESTS and self.running(user) < AT_ONCE))


@dataclass
class Running:
    """An exchange that the gateway has, and what it was told."""

    lease: Lease
    metadata: Mapping[str, Any]


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model = Model()
        self.running: list[Running] = []
        self.told: list[Finished] = []
        rig = Rig(MemoryStore(), ThreadOffload(1), budgets=BUDGETS, settings={"lease_seconds": TTL_MS // 1000})
        self.rigs = {user: replace(rig, principal=structs.replace(ANN, user=user)) for user in USERS}
        cut = {**rig.settings, "on_exhausted": "cut", "step_tokens": STEP}
        self.cutting = {user: replace(self.rigs[user], settings=cut) for user in USERS}
        self.exchanges = 0

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    def teardown(self) -> None:
        for rig in self.rigs.values():
            rig.offload.close()
        self.runner.close()

    def rig(self, user: str, *, cuts: bool) -> Rig:
        rig = (self.cutting if cuts else self.rigs)[user]
        rig.clock.at_ms = self.model.now_ms
        rig.exchanges = self.exchanges = self.exchanges + 1  # ids are of all rigs
        return rig

    def asked(self, user: str, cap: int, body: Mapping[str, Any], *, cuts: bool) -> tuple[Exchange, Lease, Any] | None:
        """A request, admitted exactly where the model has room for what is reserved first."""
        first = min(cap, STEP) if cuts else cap
        fits = self.model.fits(user, PROMPT + first, new=True)
        exchange, answer = self.run(self.rig(user, cuts=cuts).ask({**BODY, "max_tokens": cap, **body}))
        assert isinstance(answer, Proceed if fits else Refuse), (fits, answer)
        if not fits:
            assert error_of(answer)["code"] == "budget.exhausted"
            exchange.close()
            return None
        lease = Lease(user, self.model.now_ms, PROMPT + first)
        self.model.leases.append(lease)
        return exchange, lease, answer

    @rule(user=st.sampled_from(USERS), cap=st.integers(1, 120))
    def a_request_is_handed_over(self, user: str, cap: int) -> None:
        if (found := self.asked(user, cap, {}, cuts=False)) is not None:
            exchange, lease, answer = found
            assert exchange.close(Cause.HANDED_OFF)
            self.running.append(Running(lease, answer.metadata))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), status=st.sampled_from([200, 200, 0, 429, 500]), reached=st.sampled_from([True, True, False]))
    def an_exchange_ends(self, data: st.DataObject, status: int, reached: bool) -> None:
        ended = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        used = data.draw(st.none() | st.integers(0, ended.lease.tokens - PROMPT)) if reached else None
        usage = {} if used is None else {"prompt_tokens": PROMPT, "completion_tokens": used}
        self.told.append(Finished(ended.metadata, usage, status, reached))
        self.delivered(self.told[-1])
        if ended.lease.runs(self.model.now_ms):
            ended.lease.is_open = False
            if used is not None:
                ended.lease.tokens = PROMPT + used
            elif not reached or status >= 400:
                ended.lease.tokens = 0

    @precondition(lambda self: self.told)
    @rule(data=st.data())
    def an_entry_of_the_access_log_comes_again(self, data: st.DataObject) -> None:
        self.delivered(data.draw(st.sampled_from(self.told)))

    def delivered(self, entry: Finished) -> None:
        rig = self.rigs["ann"]
        rig.clock.at_ms = self.model.now_ms
        self.run(rig.carry_out(settlement(entry)))

    @rule(user=st.sampled_from(USERS), cap=st.integers(1, 200), words=st.integers(0, 200), hangs_up=st.booleans())
    def a_stream_runs_until_it_ends_or_its_budget_does(self, user: str, cap: int, words: int, hangs_up: bool) -> None:
        if (found := self.asked(user, cap, {"stream": True}, cuts=True)) is None:
            return
        exchange, lease, _ = found
        self.run(self.streamed(self.cutting[user], exchange, lease, cap, words, hangs_up))

    async def streamed(self, rig: Rig, exchange: Exchange, lease: Lease, cap: int, words: int, hangs_up: bool) -> None:
        """An answer of so many words, whatever the request's cap was."""
        await rig.send(exchange, ResponseHeaders(200, SSE))
        held, refused, passed = lease.tokens - PROMPT, False, 0
        while passed < words:
            passed += 1
            answer = await rig.send(exchange, ResponseBody(chunk(" water")))
            assert isinstance(answer, Deliver)
            assert answer.end == (refused and passed > held), (passed, held)
            if answer.end:
                break
            more = wanted(passed, held, cap)
            refused = refused or not self.model.fits(lease.user, more, new=False)
            if not refused:
                held += more
                lease.tokens += more
        await rig.carry_out(exchange.close(Cause.ABORTED if hangs_up else Cause.COMPLETED))
        self.model.beyond += max(passed - held, 0)
        lease.is_open, lease.tokens = False, PROMPT + passed if words else lease.tokens

    @rule(user=st.sampled_from(USERS), cap=st.integers(1, 120))
    def a_worker_dies_with_a_request(self, user: str, cap: int) -> None:
        """Nobody settles it: it is charged as reserved, and runs until it lapses."""
        self.asked(user, cap, {}, cuts=False)

    @rule(step_ms=st.integers(1, 30_000))
    def time_passes(self, step_ms: int) -> None:
        self.model.now_ms += step_ms

    @invariant()
    def the_counters_are_the_models_and_within_their_limits(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        model, rig = self.model, self.rigs["ann"]
        rig.clock.at_ms = model.now_ms
        for user in USERS:
            assert await rig.used(f"user-tokens:research/{user}") == model.tokens(user) <= TOKENS + model.beyond
            assert await rig.used(f"user-at-once:{user}", "concurrency", HELD) == model.running(user) <= AT_ONCE
        assert await rig.used("team-cost:research", "nano_usd") == model.nano_usd() <= NANO_USD + 2_000 * model.beyond
        assert await rig.used("team-rate:research", "requests", MINUTE) == model.requests() <= REQUESTS


def test_any_interleaving_is_charged_exactly_and_stays_within_its_budgets() -> None:
    slow = [HealthCheck.too_slow]
    examples = settings(max_examples=1500 if LONG else 25, stateful_step_count=40, deadline=None, suppress_health_check=slow)
    run_state_machine_as_test(Machine, settings=examples)
