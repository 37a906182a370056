"""`headrace usage`: reports and exports add up to what was charged."""

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from headrace.ext_proc.core.ledger import Charge, Closing, Sliding
from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.cli.command import headrace
from tests.patience import patient_store

NOW = 1_795_000_000_000  # 2026-11-18T11:06:40Z


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with EmbeddedStore() as url:
        yield url


@pytest.fixture
async def organisation(url: str) -> str:
    """One with a ledger: two teams, two models, a request that was released."""
    store, organisation = patient_store(url), str(uuid4())
    used = [("mill", "a", 100, 7), ("mill", "a", 50, 3), ("mill", "b", 10, 1), ("forge", "a", 1, 123_456_789_012)]
    for number, (team, model, tokens, nano_usd) in enumerate(used):
        counts = {"input_tokens": str(tokens), "output_tokens": "2", "nano_usd": str(nano_usd)}
        record = {"exchange": f"e{number}", "organisation": organisation, "team": team, "model": model, "stream": "1", **counts}
        await closed(store, organisation, Closing(f"e{number}", {"tokens": tokens}, record))
    await closed(store, organisation, Closing("e9", None, {"exchange": "e9", "team": "mill", "model": "a"}))
    await store.close()
    return organisation


async def closed(store: Any, organisation: str, closing: Closing) -> None:
    charge = Charge("team", "tokens", 10**9, 1, Sliding(60_000))
    await store.reserve(organisation, closing.lease, [charge], now_ms=NOW, ttl_ms=60_000)
    await store.settle_many(organisation, [closing], now_ms=NOW)


HERE = Path(__file__).parent
ALWAYS = ("--from", "2020-01-01", "--to", "2100-01-01")


def usage(url: str, organisation: str, command: str, *arguments: str, time: tuple[str, ...] = ALWAYS) -> str:
    done = headrace("usage", command, "--store", url, "--organisation", organisation, *time, *arguments, cwd=HERE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_report_adds_up_exactly(url: str, organisation: str) -> None:
    document = json.loads(usage(url, organisation, "report", "--by", "team,model", "--format", "json"))
    money = [(group["team"], group["model"], group["requests"], group["released"], group["usd"]) for group in document["groups"]]
    assert money == [("forge", "a", 1, 0, "123.456789012"), ("mill", "a", 2, 1, "0.00000001"), ("mill", "b", 1, 0, "0.000000001")]
    assert document["total"]["input_tokens"] == 161
    assert Decimal(document["total"]["usd"]) == Decimal("123.456789023")


def test_a_table_is_read_by_people(url: str, organisation: str) -> None:
    lines = usage(url, organisation, "report", "--by", "team").splitlines()
    assert lines[0].split() == ["team", "requests", "released", "input", "cached", "output", "reasoning", "usd"]
    assert [line.split()[0] for line in lines[1:]] == ["forge", "mill", "total"]
    assert lines[1].split()[1:] == ["1", "0", "1", "0", "2", "0", "123.456789012"]
    assert len({len(line) for line in lines}) == 1


def test_csv_has_every_column(url: str, organisation: str) -> None:
    rows = list(csv.DictReader(io.StringIO(usage(url, organisation, "report", "--by", "day,team", "--format", "csv"))))
    expected = [("2026-11-18", "forge", "1"), ("2026-11-18", "mill", "3")]
    assert [(row["day"], row["team"], row["requests"]) for row in rows] == expected


def test_an_export_has_a_row_for_every_record(url: str, organisation: str, tmp_path: Path) -> None:
    path = tmp_path / "usage.parquet"
    assert usage(url, organisation, "export", str(path)) == f"{path}: 5 records\n"
    rows = pq.read_table(path).to_pylist()
    assert [row["outcome"] for row in rows] == ["settled"] * 4 + ["released"]
    assert (rows[3]["usd"], rows[3]["team"], rows[3]["stream"], rows[4]["usd"]) == (Decimal("123.456789012"), "forge", True, None)


def test_only_the_time_asked_for_counts(url: str, organisation: str) -> None:
    def total(start: str, end: str) -> int:
        said = usage(url, organisation, "report", "--format", "json", time=("--from", start, "--to", end))
        count: int = json.loads(said)["total"]["requests"]
        return count

    assert total("2026-11-18T11:06:40", "2026-11-18T11:06:41") == 4
    assert total("2026-11-18T11:06:41", "2026-11-19") == total("2026-11-17", "2026-11-18T11:06:40") == 0
    assert total("2026-11-18T12:06:40+01:00", "2026-11-19") == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--by", "tem"), "'tem' is none of"),
        (("--from", "yesterday"), "'yesterday' is no day or instant"),
        (("--store", "x:y"), "store URL"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(url: str, arguments: tuple[str, ...], said: str) -> None:
    done = headrace("usage", "report", "--store", url, *arguments, cwd=HERE)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_a_store_that_refuses_is_said(url: str) -> None:
    done = headrace("usage", "report", "--store", f"{url}?password=wrong", cwd=HERE)
    assert done.returncode == 1
    assert done.stderr.startswith("the store refused: ")
    assert done.stderr.endswith("; is it running, and is --store right?\n")


def test_a_store_that_is_away_is_said(tmp_path: Path) -> None:
    done = headrace("usage", "report", "--store", f"unix://{tmp_path}/nobody", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("the store does not answer: ")
