"""Counting by labels, bounded."""

import pytest

from headrace.ext_proc.telemetry.metrics import FAMILIES, MAX_SERIES, OTHER, Family
from headrace.ext_proc.telemetry.samples import Sample
from headrace.ext_proc.telemetry.tally import Counter, Histogram

THINGS = Family("things", "counter", "Things.", ("kind",))
SIZES = Family("sizes", "histogram", "Sizes.", ("kind",), (1.0, 10.0))


def test_a_counter_adds_per_label() -> None:
    counter = Counter(THINGS)
    counter.add(("a",))
    counter.add(("a",), 2.5)
    counter.add(("b",))
    assert list(counter.samples()) == [
        Sample("things_total", (("kind", "a"),), 3.5),
        Sample("things_total", (("kind", "b"),), 1.0),
    ]


def test_a_counter_without_labels_is_there_from_the_start() -> None:
    assert list(Counter(Family("n", "counter", "N.")).samples()) == [Sample("n_total", (), 0.0)]


def test_a_gauge_keeps_the_last_value_and_its_plain_name() -> None:
    gauge = Counter(Family("depth", "gauge", "Depth."))
    gauge.set(3)
    gauge.set(2)
    assert list(gauge.samples()) == [Sample("depth", (), 2)]


def test_a_histogram_s_buckets_are_cumulative_and_hold_their_bound() -> None:
    histogram = Histogram(SIZES)
    for value in (0.5, 1.0, 1.1, 10.0, 11.0):
        histogram.observe(("a",), value)
    found = {(sample.name, dict(sample.labels).get("le")): sample.value for sample in histogram.samples()}
    assert found == {
        ("sizes_bucket", "1.0"): 2,
        ("sizes_bucket", "10.0"): 4,
        ("sizes_bucket", "+Inf"): 5,
        ("sizes_count", None): 5,
        ("sizes_sum", None): pytest.approx(23.6),
    }


@pytest.mark.parametrize("tally", [Counter(THINGS), Histogram(SIZES)], ids=["counter", "histogram"])
def test_series_beyond_the_limit_are_counted_together(tally: Counter | Histogram) -> None:
    for number in range(MAX_SERIES + 50):
        tally.observe((str(number),), 1.0) if isinstance(tally, Histogram) else tally.add((str(number),))
    kinds = [dict(sample.labels)["kind"] for sample in tally.samples() if sample.name in ("things_total", "sizes_count")]
    assert len(kinds) == MAX_SERIES + 1
    others = [sample.value for sample in tally.samples() if dict(sample.labels)["kind"] == OTHER]
    assert others[-1] == 50


def test_every_family_is_well_formed() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert not family.name.endswith("_total"), family.name
        assert (family.kind == "histogram") == bool(family.bounds), family.name
        assert list(family.bounds) == sorted(set(family.bounds)), family.name
