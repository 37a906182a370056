"""`headrace usage reconcile`: an invoice beside a ledger that real settlements have written."""

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner, Result

from headrace.ext_proc.cli.usage import app
from headrace.ext_proc.core.effects import Release, Settle
from headrace.ext_proc.core.ledger import Charge, Sliding
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.engine.bookkeeping import Money, closing_of
from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.patience import patient_store

PAGE = (Path(__file__).parents[3] / "docs" / "commands" / "usage.md").read_text("utf-8")
NOON = 1_793_620_800_000  # 2026-11-02T12:00:00Z
DAY = 86_400_000
PRICE = Price("2.50", "10.00", "1.25", revision="r1")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with EmbeddedStore() as url:
        yield url


@pytest.fixture
async def organisation(url: str) -> str:
    """What the documentation's example says was used: on two days, of two models, one answer without usage."""
    organisation = str(uuid4())
    gpt = {"asked": "gpt-4o", "model": "gpt-4o", "route": "openai"}
    llama = {"asked": "llama-3.3-70b", "model": "llama-3.3-70b", "route": "own-gpus"}
    await settle(url, organisation, NOON, Settle(organisation, "a", Usage(7162, 1673, 1280), PRICE, None, gpt))
    await settle(url, organisation, NOON, Release(organisation, "b", gpt))
    await settle(url, organisation, NOON + DAY, Settle(organisation, "c", Usage(5000, 800), PRICE, None, gpt))
    await settle(url, organisation, NOON + DAY, Settle(organisation, "d", None, PRICE, Usage(400, 4096), gpt))
    await settle(url, organisation, NOON + DAY, Settle(organisation, "e", Usage(90, 9), None, None, llama))
    return organisation


async def settle(url: str, organisation: str, now_ms: int, effect: Money) -> None:
    store = patient_store(url)
    charge = Charge("team", "tokens", 10**9, 1, Sliding(60_000))
    await store.reserve(organisation, str(effect.lease), [charge], now_ms=now_ms, ttl_ms=60_000)
    await store.settle_many(organisation, [closing_of(effect, "test")], now_ms=now_ms)
    await store.close()


def block(fence: str) -> str:
    found = re.search(rf"```{re.escape(fence)}\n(.*?)```", PAGE, re.DOTALL)
    assert found, fence
    return found[1]


@pytest.fixture
def invoice(tmp_path: Path) -> Path:
    path = tmp_path / "november.csv"
    path.write_text(block("csv november.csv"), "utf-8")
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200", "TERM": "dumb"})


def reconcile(url: str, organisation: str, invoice: Path, *options: str) -> Result:
    return run("reconcile", invoice, "--store", url, "--organisation", organisation, *options)


def test_the_documentation_shows_what_is_printed(url: str, organisation: str, invoice: Path) -> None:
    done = reconcile(url, organisation, invoice, "--route", "openai")
    expected = block("text november").split("\n", 1)
    assert expected[0] == "$ headrace usage reconcile november.csv --route openai"
    assert done.stdout == expected[1]
    assert done.exit_code == 1


def test_what_agrees_ends_well_and_prints_totals(url: str, organisation: str, invoice: Path) -> None:
    done = reconcile(url, organisation, invoice, "--route", "open*", "--to", "2026-11-03")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["day", *["total"] * 4, "1"]
    shown = reconcile(url, organisation, invoice, "--route", "openai", "--to", "2026-11-03", "--all").stdout.splitlines()
    assert shown[1].split() == ["2026-11-02", "gpt-4o", "3,4", "agrees", "requests", "1", "1", "0", "+0.00", "0"]


def test_a_ledger_agrees_with_its_own_report(url: str, organisation: str, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    own = run("report", "--store", url, "--organisation", organisation, "--by", "day,model", "--format", "csv")
    path.write_text(own.stdout, "utf-8")
    document = json.loads(reconcile(url, organisation, path, "--tolerance", "0", "--tolerance-usd", "0", "--format", "json").stdout)
    assert [(group["day"], group["model"], group["verdict"]) for group in document["groups"]] == [
        ("2026-11-02", "gpt-4o", "agrees"),
        ("2026-11-03", "gpt-4o", "agrees"),
        ("2026-11-03", "llama-3-3-70b", "agrees"),
    ]
    assert document["total"]["usd"] == {"invoice": "0.095495", "ledger": "0.095495", "difference": "0", "agrees": True}


def test_json_and_csv_have_all_of_it(url: str, organisation: str, invoice: Path) -> None:
    document = json.loads(reconcile(url, organisation, invoice, "--format", "json").stdout)
    wrong = [(group["verdict"], group["lines"], group["estimated"], group["unpriced"]) for group in document["groups"][1:]]
    assert wrong == [("differs", [5], 1, 0), ("not in the invoice", [], 0, 1)]
    assert document["groups"][1]["output_tokens"] == {"invoice": 812, "ledger": 4896, "difference": 4084, "agrees": False}
    rows = list(csv.DictReader(io.StringIO(reconcile(url, organisation, invoice, "--format", "csv").stdout)))
    assert len(rows) == 3 * 4
    assert [row["difference"] for row in rows if row["what"] == "output_tokens"] == ["0", "4084", "9"]


def test_exported_files_do_for_the_store(url: str, organisation: str, invoice: Path, tmp_path: Path) -> None:
    files: list[str | Path] = []
    for start, end in (("2026-11-01", "2026-11-03"), ("2026-11-03", "2026-11-04")):
        files += ["--ledger", tmp_path / f"{start}.parquet"]
        assert run("export", files[-1], "--store", url, "--organisation", organisation, "--from", start, "--to", end).exit_code == 0
    done = run("reconcile", invoice, *files, "--route", "openai")
    assert (done.stdout, done.exit_code) == (reconcile(url, organisation, invoice, "--route", "openai").stdout, 1)
    twice = run("reconcile", invoice, *files, *files[:2])
    assert (twice.exit_code, twice.stdout) == (2, "")
    assert "2026-11-01.parquet: has records of the same time as" in twice.stderr


def test_exported_money_is_exact(url: str, organisation: str, tmp_path: Path) -> None:
    own, exported = tmp_path / "own.csv", tmp_path / "all.parquet"
    ledger = ("--store", url, "--organisation", organisation)
    own.write_text(run("report", *ledger, "--by", "day,model", "--format", "csv").stdout, "utf-8")
    run("export", exported, *ledger)
    done = run("reconcile", own, "--ledger", exported, "--tolerance", "0", "--tolerance-usd", "0", "--format", "json")
    assert (done.exit_code, json.loads(done.stdout)["total"]["usd"]["ledger"]) == (0, "0.095495")


def test_a_file_of_something_else_is_no_ledger(invoice: Path, tmp_path: Path) -> None:
    path = tmp_path / "other.parquet"
    done = run("reconcile", invoice, "--ledger", invoice)
    assert done.exit_code == 2 and f"{invoice}: not a file of `headrace usage export`: " in done.stderr
    pq.write_table(pa.table({"at": [1]}), path)
    done = run("reconcile", invoice, "--ledger", path)
    assert done.exit_code == 2 and f"{path}: not a file of `headrace usage export`: no column 'outcome'" in done.stderr
    done = run("reconcile", invoice, "--ledger", tmp_path / "none.parquet")
    assert done.exit_code == 2 and "none.parquet" in done.stderr


def test_a_ledger_that_begins_later_is_said(url: str, organisation: str, invoice: Path) -> None:
    assert f"the ledger of {organisation} begins with 2026-11-02T12:00:00+00:00" in reconcile(url, organisation, invoice).stderr
    assert reconcile(url, organisation, invoice, "--from", "2026-11-03").stderr == ""


def test_organisations_that_share_an_account_are_added_up(url: str, organisation: str, invoice: Path) -> None:
    both = reconcile(url, organisation, invoice, "--organisation", organisation, "--by", "model", "--format", "json")
    assert json.loads(both.stdout)["groups"][0]["requests"]["ledger"] == 6


def test_names_and_columns_are_told(url: str, organisation: str, tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text("\N{ZERO WIDTH NO-BREAK SPACE}Date,Meter,Cost\n2026-11-02,gpt 4o Tokens,0.03\n", "utf-8")
    options = ["--column", "day=Date", "--column", "model=Meter", "--column", "usd=Cost", "--name", "gpt 4o Tokens=gpt-4o"]
    done = reconcile(url, organisation, path, *options)
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "1 of 1 agree")


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        ("day,usd\n2026-11-02,1\n", (), "{path}:1: no column has the model; compare --by day"),
        ("day,model,usd\n2026-11-02,m,1 EUR\n", (), "{path}:2: usd: '1 EUR' is no amount such as 1234.50"),
        ("day,model,usd\n", (), "{path}: no line of this time has an amount"),
        ("day,model,usd\n2026-11-02,\xff,1\n", (), "{path}: not UTF-8: invalid start byte"),
        ("day,model,usd\n2026-11-02,m,1\n", ("--store", "unix:///nobody"), "the store does not answer: "),
    ],
)
def test_what_cannot_be_compared_ends_with_2(url: str, tmp_path: Path, text: str, options: Sequence[str], said: str) -> None:
    path = tmp_path / "i.csv"
    path.write_text(text, "latin-1")
    done = run("reconcile", path, "--store", url, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said.format(path=path) in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "where is the ledger? Give --store URL, or --ledger FILE"),
        (("--store", "x:y"), "store URL"),
        (("--ledger", "a", "--organisation", "b"), "a file has the ledger of one organisation"),
        (("--store", "memory://", "--by", "team"), "'team' is none of day, model"),
        (("--store", "memory://", "--from", "yesterday"), "'yesterday' is no day such as 2026-11-01"),
        (("--store", "memory://", "--time-zone", "../UTC"), "'../UTC' is no time zone such as"),
        (("--store", "memory://", "--tolerance", "nan"), "'nan' is no amount such as 0.5"),
        (("--store", "memory://", "--column", "day"), "'day' is not of the form NAME=NAME"),
        (("--store", "memory://", "--column", "cost=a"), "'cost' is none of day, model"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(invoice: Path, options: Sequence[str], said: str) -> None:
    done = run("reconcile", invoice, *options)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_an_invoice_that_is_not_there_is_said(url: str, tmp_path: Path) -> None:
    done = run("reconcile", tmp_path / "none.csv", "--store", url)
    assert (done.exit_code, done.stderr) == (2, f"{tmp_path}/none.csv: No such file or directory\n")
