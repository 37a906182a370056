"""Workers' samples added up, in Prometheus's format."""

from prometheus_client.parser import text_string_to_metric_families

from headrace.ext_proc.telemetry.counting import Metrics
from headrace.ext_proc.telemetry.exposition import Totals
from headrace.ext_proc.telemetry.metrics import FAMILIES
from headrace.ext_proc.telemetry.samples import Sample
from tests.telemetry.records import FixedClock, decision, settlement


def worker(requests: int, streams: int = 0) -> list[Sample]:
    counted = Metrics(lambda name: True, FixedClock())
    for _ in range(requests):
        counted.observe(decision())
        counted.observe(settlement())
    counted.active_streams.set(streams)
    return list(counted.samples())


def read(body: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(body.decode())
    return {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for family in families for sample in family.samples}


REQUESTS = ("headrace_requests_total", (("endpoint", "chat"), ("outcome", "handed_off"), ("reason", "")))
STREAMS = ("headrace_active_streams", ())


def test_living_workers_are_added_up() -> None:
    body, content_type = Totals().text([worker(2, streams=1), worker(3, streams=4)])
    found = read(body)
    assert found[REQUESTS] == 5
    assert found[STREAMS] == 5
    assert content_type.startswith("text/plain")


def test_a_worker_that_ended_leaves_its_counts_and_takes_its_gauges() -> None:
    totals = Totals()
    totals.ended(worker(7, streams=9))
    found = read(totals.text([worker(1, streams=2)])[0])
    assert found[REQUESTS] == 8
    assert found[STREAMS] == 2


def test_histograms_add_up_bucket_by_bucket() -> None:
    found = read(Totals().text([worker(2), worker(3)])[0])
    bucket = "headrace_added_duration_seconds_bucket"
    below = {dict(labels)["le"]: value for (name, labels), value in found.items() if name == bucket}
    assert below["0.0004"] == 5
    assert below["0.0002"] == 0
    assert below["+Inf"] == 5


def test_openmetrics_is_given_where_it_is_asked_for() -> None:
    body, content_type = Totals().text([worker(1)], accept="application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")


def test_every_family_has_its_help() -> None:
    body = Totals().text([])[0].decode()
    for family in FAMILIES:
        assert f"# HELP {family.name}" in body


def test_a_sample_of_an_unknown_family_is_left_out() -> None:
    assert b"strange" not in Totals().text([[Sample("strange", (), 1.0)]])[0]
