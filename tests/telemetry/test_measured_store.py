"""The store is timed by operation, whether it answers or not."""

import pytest

from headrace.ext_proc.core.ledger import Admitted, Charge, Fixed
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.roster import Listed, Seen
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.ext_proc.telemetry import metrics
from headrace.ext_proc.telemetry.measured_store import MeasuredStore
from headrace.ext_proc.telemetry.outages import Outages
from headrace.ext_proc.telemetry.tally import Counter, Histogram
from tests.stores.closing import settle


class Measured:
    def __init__(self) -> None:
        self.durations, self.errors = Histogram(metrics.STORE_DURATION), Counter(metrics.STORE_ERRORS)
        self.store = MeasuredStore(MemoryStore(), self.durations, self.errors, Outages())

    def calls(self) -> dict[str, float]:
        name = f"{metrics.STORE_DURATION.name}_count"
        return {sample.labels[0][1]: sample.value for sample in self.durations.samples() if sample.name == name}

    def failures(self) -> dict[str, float]:
        return {sample.labels[0][1]: sample.value for sample in self.errors.samples() if sample.value}


async def test_every_operation_is_passed_on_and_timed() -> None:
    measured = Measured()
    charge = Charge("c", "tokens", 100, 40, Fixed(0, 1000))
    assert await measured.store.reserve("o", "l", [charge], now_ms=1, ttl_ms=1000) == Admitted((60,))
    assert await settle(measured.store, "o", "l", {"tokens": 10}, now_ms=2)
    assert await measured.store.read("o", [charge], now_ms=3) == (10,)
    assert await measured.store.enrol("keys", "d", b"v") == 1
    assert await measured.store.listed("keys", "d") == Listed("d", b"v", 1)
    assert await measured.store.listed_since("keys", 0) == [Listed("d", b"v", 1)]
    assert (await measured.store.changes("keys", Seen())).records == [Listed("d", b"v", 1)]
    await measured.store.ping()
    rosters = ["enrol", "listed", "listed_since", "changes"]
    assert measured.calls() == dict.fromkeys(["reserve", "settle", "read", *rosters, "ping"], 1)
    assert measured.failures() == {}


def test_every_operation_counts_its_errors_from_none_on() -> None:
    operations = {name for name in vars(MeasuredStore) if not name.startswith("_")} - {"close", "settle_many", "time_ms"}
    told = {sample.labels[0][1]: sample.value for sample in Measured().errors.samples()}
    assert told == dict.fromkeys({*operations, "settle", "time"}, 0)


async def test_a_call_that_is_not_answered_is_an_error_and_is_timed() -> None:
    measured = Measured()
    await measured.store.close()
    with pytest.raises(StoreUnavailable):
        await measured.store.ping()
    assert measured.failures() == {"ping": 1}
    assert measured.calls() == {"ping": 1}
