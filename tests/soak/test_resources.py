"""Slopes through what is known of processes that come and go."""

from pathlib import Path

from tests.soak.report import percentile
from tests.soak.resources import Sample, Series, slope, slopes, write_samples


def line(per_hour: float, level: float, began: int = 0, count: int = 10) -> list[tuple[float, float]]:
    return [(began + 3.0 * at, level + per_hour * 3 * at / 3600) for at in range(count)]


def test_lives_at_different_levels_share_a_slope() -> None:
    found = slope([line(12, 100), line(12, 500, began=900)])
    assert found is not None
    assert abs(found - 12) < 1e-6


def test_a_restart_at_another_level_is_no_growth() -> None:
    found = slope([line(0, 100), line(0, 500, began=900)])
    assert found == 0


def test_too_little_says_nothing() -> None:
    assert slope([line(0, 1, count=4)]) is None
    assert slope([]) is None


def test_the_warm_up_of_every_life_is_left_out() -> None:
    samples = [Sample(100 + at, 100.0 + (10 * at if at < 20 else 200), 5) for at in range(0, 60, 3)]
    assert slopes([Series("worker", 1, 100, samples)], 20, lambda sample: sample.rss_mb) == {"worker": 0}
    grown = slopes([Series("worker", 1, 100, samples)], 0, lambda sample: sample.rss_mb)["worker"]
    assert grown is not None and grown > 0


def test_percentiles() -> None:
    assert percentile([], 0.99) is None
    assert percentile(list(map(float, range(100))), 0.99) == 99


def test_every_sample_is_written_as_a_line(tmp_path: Path) -> None:
    write_samples([Series("worker", 7, 0, [Sample(3.04, 180.123, 41)])], tmp_path / "samples.csv")
    assert (tmp_path / "samples.csv").read_text().splitlines() == ["role,pid,at_s,rss_mb,fds", "worker,7,3.0,180.12,41"]
