"""Every store against a model so plain that it is right by inspection, under any order of calls and any passing of time."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from headrace.ext_proc.core.ledger import Admitted, Charge, Exhausted, Fixed, Sliding, Unit, Window
from tests.patience import patient_store
from tests.stores.closing import release, settle

GRID_MS = 1_000
SLIDING = Sliding(595)  # in buckets of 10 ms, the last of which is cut
OVERTAKEN_MS = 60_000
COUNTERS: tuple[tuple[str, Unit, int, bool], ...] = (
    ("team", "tokens", 100, False),
    ("user", "tokens", 60, False),
    ("team", "requests", 5, False),
    ("user", "tokens", 80, True),
    ("team", "nano_usd", 90, True),
)
LEASES = st.sampled_from(("a", "b", "c", "d", "e", "f"))
AMOUNTS = st.integers(0, 70)
UNITS: tuple[Unit, ...] = ("tokens", "requests", "nano_usd")


@dataclass
class Draw:
    counter: tuple[str, Unit, Window]
    amount: int
    at_ms: int

    def counts(self, now_ms: int) -> bool:
        """A bucket counts as a whole for as long as any instant of it is less than the length ago."""
        window = self.counter[2]
        if isinstance(window, Fixed):
            return window.start_ms <= now_ms < window.end_ms
        assert isinstance(window, Sliding), "what runs at once is in test_leases.py"
        width = -(-window.length_ms // 60)
        return (self.at_ms // width + 1) * width > now_ms - window.length_ms


@dataclass
class Lease:
    answer: Admitted
    lapses_ms: int
    draws: list[Draw]
    closed: bool = False


@dataclass
class Model:
    """All draws there ever were; a counter is the sum of those that count."""

    now_ms: int = 1_795_000_000_000
    draws: list[Draw] = field(default_factory=list)
    leases: dict[str, Lease] = field(default_factory=dict)
    overtaken: dict[str, int] = field(default_factory=dict)

    def used(self, charge: Charge) -> int:
        counter = (charge.counter, charge.unit, charge.window)
        return sum(draw.amount for draw in self.draws if draw.counter == counter and draw.counts(self.now_ms))

    def known(self, name: str) -> Lease | None:
        lease = self.leases.get(name)
        return lease if lease and self.now_ms < lease.lapses_ms else None

    def admit(self, name: str, charges: list[Charge], answer: Admitted, ttl_ms: int) -> None:
        draws = [Draw((c.counter, c.unit, c.window), c.amount, self.now_ms) for c in charges]
        self.draws += draws
        self.leases[name] = Lease(answer, self.now_ms + ttl_ms, draws)

    def close(self, name: str, spent: dict[Unit, int]) -> bool:
        lease = self.known(name)
        if lease is None or lease.closed:
            return False
        lease.closed = True
        for draw in lease.draws:
            draw.amount = spent.get(draw.counter[1], draw.amount)
        return True


class Machine(RuleBasedStateMachine):
    def __init__(self, url: str) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = patient_store(url)
        self.organisation = str(uuid4())
        self.model = Model()

    def run(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.store.close())
        self.runner.close()

    def charges(self, amounts: list[int | None]) -> list[Charge]:
        start_ms = self.model.now_ms // GRID_MS * GRID_MS
        fixed = Fixed(start_ms, start_ms + GRID_MS)
        return [
            Charge(name, unit, limit, amount, SLIDING if slides else fixed)
            for (name, unit, limit, slides), amount in zip(COUNTERS, amounts, strict=True)
            if amount is not None
        ]

    @rule(step_ms=st.one_of(st.integers(1, 40), st.integers(100, 2_000), st.integers(50_000, 70_000)))
    def time_passes(self, step_ms: int) -> None:
        self.model.now_ms += step_ms

    @rule(
        name=LEASES,
        amounts=st.lists(st.none() | AMOUNTS, min_size=len(COUNTERS), max_size=len(COUNTERS)),
        ttl_ms=st.sampled_from((30, 1_500, 100_000)),
    )
    def reserve(self, name: str, amounts: list[int | None], ttl_ms: int) -> None:
        model, charges = self.model, self.charges(amounts)
        call = self.store.reserve(self.organisation, name, charges, now_ms=model.now_ms, ttl_ms=ttl_ms)
        known = model.known(name)
        if known is None and model.now_ms < model.overtaken.get(name, 0):
            with pytest.raises(ValueError, match="released before"):
                self.run(call)
            return
        answer = self.run(call)
        if known is not None:
            assert answer == known.answer
            return
        left = [charge.limit - model.used(charge) for charge in charges]
        if all(charge.amount <= rest for charge, rest in zip(charges, left, strict=True)):
            assert answer == Admitted(tuple(rest - charge.amount for charge, rest in zip(charges, left, strict=True)))
            model.admit(name, charges, answer, ttl_ms)
        else:
            self.check_refusal(answer, charges, left)

    def check_refusal(self, answer: Exhausted, charges: list[Charge], left: list[int]) -> None:
        assert isinstance(answer, Exhausted)
        assert answer.remaining == tuple(max(rest, 0) for rest in left)
        refusing = charges[answer.index]
        assert refusing.amount > left[answer.index]
        now_ms = self.model.now_ms
        assert answer.resets_at_ms > now_ms
        if isinstance(refusing.window, Sliding) and refusing.amount <= refusing.limit:
            self.model.now_ms = answer.resets_at_ms - 1
            assert self.model.used(refusing) + refusing.amount > refusing.limit
            self.model.now_ms = answer.resets_at_ms
            assert self.model.used(refusing) + refusing.amount <= refusing.limit
            self.model.now_ms = now_ms

    @rule(name=LEASES, spent=st.dictionaries(st.sampled_from(UNITS), AMOUNTS))
    def settle(self, name: str, spent: dict[Unit, int]) -> None:
        applied = self.run(settle(self.store, self.organisation, name, spent, now_ms=self.model.now_ms))
        assert applied == self.model.close(name, spent)

    @rule(name=LEASES)
    def release(self, name: str) -> None:
        model = self.model
        if model.known(name) is None and model.now_ms >= model.overtaken.get(name, 0):
            model.overtaken[name] = model.now_ms + OVERTAKEN_MS
        applied = self.run(release(self.store, self.organisation, name, now_ms=model.now_ms))
        assert applied == model.close(name, dict.fromkeys(UNITS, 0))

    @precondition(lambda self: self.model.leases)
    @rule(data=st.data())
    def everything_is_settled_twice(self, data: st.DataObject) -> None:
        """As after a crash of the settling side, which then repeats all it may have done."""
        spent: dict[Unit, int] = {"tokens": data.draw(AMOUNTS)}
        for name in list(self.model.leases) * 2:
            self.settle(name, spent)

    @invariant()
    def every_counter_equals_the_model(self) -> None:
        charges = self.charges([0] * len(COUNTERS))
        held = self.run(self.store.read(self.organisation, charges, now_ms=self.model.now_ms))
        assert held == tuple(self.model.used(charge) for charge in charges)


@pytest.mark.parametrize("kind", ["memory", "valkey"])
def test_any_order_of_calls_leaves_what_the_model_has(kind: str, request: pytest.FixtureRequest) -> None:
    url = "memory://" if kind == "memory" else request.getfixturevalue("valkey")

    class Bound(Machine):
        def __init__(self) -> None:
            super().__init__(url)

    slow = [HealthCheck.too_slow]
    run_state_machine_as_test(
        Bound, settings=settings(max_examples=100, stateful_step_count=30, deadline=None, suppress_health_check=slow)
    )
