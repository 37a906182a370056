"""Bugs of budgets, leases and settlements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, cast
from unittest.mock import patch
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from headrace.ext_proc.core import settlement
from headrace.ext_proc.core.effects import Cause, Effect, Release
from headrace.ext_proc.core.ledger import Closed, Closing, Held
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.verdict import PASS
from headrace.ext_proc.engine import effects
from headrace.ext_proc.engine.effects import EffectRunner
from headrace.ext_proc.stores import memory
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.filters.budget import session
from headrace.filters.budget.lease import Lease
from headrace.filters.budget.session import BudgetSession
from tests.simulation.loop import OWNER
from tests.simulation.planted.patching import in_place_of

Right = Callable[..., Any]


@in_place_of((MemoryStore, "_settled"))
def settles_twice(right: Right, store: MemoryStore, organisation: str, closing: Closing, now_ms: int) -> Closed:
    """A lease that was closed may be closed again."""
    if (known := store._leases.get((organisation, closing.lease))) is not None and known.answer is not None:
        known.closed = False
    closed: Closed = right(store, organisation, closing, now_ms)
    return closed


@in_place_of((BudgetSession, "close"))
def settles_what_was_handed_over(right: Right, opened: BudgetSession, outcome: Any) -> Any:
    """The session settles although the access log is going to."""
    return right(opened, replace(outcome, cause=Cause.ABORTED) if outcome.cause is Cause.HANDED_OFF else outcome)


@in_place_of((BudgetSession, "close"))
def loses_a_release(right: Right, opened: BudgetSession, outcome: Any) -> list[Effect]:
    """What was reserved for a request that went nowhere stays reserved."""
    return [effect for effect in right(opened, outcome) if not isinstance(effect, Release)]


@in_place_of((BudgetSession, "_asked"))
def reuses_lease_ids(right: Right, opened: BudgetSession, request: Any, *args: Any) -> Lease:
    """One lease for all exchanges that end in the same digit."""
    lease: Lease = right(opened, request, *args)
    lease.id = "hx" + request.id[-1]
    return lease


@in_place_of((effects, "closing_of"))
def refunds_another_lease(right: Right, effect: Any, by: str) -> Closing:
    """A release names the lease that was settled before."""
    closing: Closing = right(effect, by)
    worker = OWNER.get()
    if closing.spent is None and worker in _LAST:
        return replace(closing, lease=_LAST.pop(worker))
    _LAST[worker] = closing.lease
    return closing


_LAST: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
"""By worker."""


@contextmanager
def forgets_a_window_when_a_clock_leaves_it() -> Iterator[None]:
    """A caller whose clock is put back, or lags, begins the window anew."""
    with patch.object(memory, "SLACK_MS", 0):
        yield


@in_place_of((settlement, "costs_nothing"), (session, "costs_nothing"))
def charges_no_hang_up(right: Right, status: int | None, *, reached_upstream: bool) -> bool:
    """A caller that hangs up before its answer pays nothing."""
    return not status or bool(right(status, reached_upstream=reached_upstream))


@in_place_of((EffectRunner, "_send"))
async def drops_what_the_store_did_not_take(right: Right, runner: EffectRunner, *args: Any) -> None:
    """A settlement that fails is not tried again."""
    with suppress(StoreUnavailable):
        await right(runner, *args)


@in_place_of((effects, "closing_of"))
def settles_as_another_at_each_try(right: Right, effect: Any, by: str) -> Closing:
    """A settlement that is tried again, its answer lost, is taken for another's, of a lease that nobody knows."""
    return cast(Closing, right(effect, f"{by}-{next(_TRIES)}"))


_TRIES = count()


@in_place_of((Lease, "reserve"))
async def reserves_again_under_another_name(right: Right, lease: Lease, *args: Any) -> Any:
    """A reservation whose answer did not come is made anew, instead of once more."""
    try:
        return await right(lease, *args)
    except StoreUnavailable:
        lease.id += "-again"
        return await right(lease, *args)


@in_place_of((MemoryStore, "_correct"))
def still_counts_what_has_ended(right: Right, store: MemoryStore, draws: Any, actual: Any) -> None:
    """What a lease holds while it runs is held on."""
    right(store, draws, actual)
    held = [draw for draw in draws if isinstance(draw.charge.window, Held)]
    for lease in store._leases.values():
        if lease.closed and not lease.draws and held:
            lease.draws, held = held, []


@in_place_of((session, "refusal"))
def lets_pass_what_no_budget_holds(right: Right, *args: Any) -> Any:
    """An exhausted budget is told of, and refuses nothing."""
    return PASS
