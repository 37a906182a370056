"""`headrace budget`, over a real store."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.cli.command import headrace

POLICY = """
version: 1
models: [{name: m, price: {input: 1, output: 1}}]
identity: [{headers: {team: x-team}}]
budgets:
  - {name: day, per: [team], limit: {usd: 5}, window: day}
filters: [identity: {}, budget: {}]
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with EmbeddedStore() as url:
        yield url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(POLICY)
    return tmp_path


def budget(folder: Path, url: str, command: str, *arguments: str) -> dict[str, Any]:
    done = headrace("budget", command, "p.yaml", *arguments, "--store", url, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_what_one_asks_for_and_another_approves(folder: Path, url: str) -> None:
    asked = budget(folder, url, "raise", "day", "2.5", "--for", "team=a", "--needs-approval", "--who", "ann", "--reason", "x y")
    (made,) = asked["adjustments"]
    assert (made["state"], made["amount"], made["unit"], made["reason"]) == ("pending", "2.5", "usd", "x y")
    own = headrace("budget", "approve", "p.yaml", made["id"], "--store", url, "--who", "ann", cwd=folder)
    assert (own.returncode, "somebody else must decide it" in own.stderr) == (1, True)
    budget(folder, url, "approve", made["id"], "--who", "bob")
    (standing,) = budget(folder, url, "show", "--for", "team=a")["budgets"]
    assert (standing["limit"], standing["policy_limit"], standing["remaining"]) == ("7.5", "5", "7.5")
    assert standing["adjustments"] == [made["id"]]
    budget(folder, url, "end", made["id"], "--who", "eve")
    (kept,) = [one for one in budget(folder, url, "history")["adjustments"] if one["id"] == made["id"]]
    assert [(event["what"], event["by"]) for event in kept["history"]] == [
        ("requested", "ann"),
        ("approved", "bob"),
        ("ended", "eve"),
    ]


WRONG = [
    (("raise", "p.yaml", "day", "1", "--for", "group=a"), 2, "'group' is none of team, app, user, key, model"),
    (("raise", "p.yaml", "day", "1", "--until", "soon"), 2, "'soon' is no day or instant"),
    (("raise", "p.yaml", "day", "x"), 1, "'x' is not an amount in USD, such as 12.50"),
    (("show", "none.yaml"), 1, "none.yaml: cannot be read"),
]


@pytest.mark.parametrize(("arguments", "status", "says"), WRONG, ids=[says for *_, says in WRONG])
def test_what_cannot_be_done_is_said(folder: Path, url: str, arguments: tuple[str, ...], status: int, says: str) -> None:
    done = headrace("budget", *arguments, "--store", url, cwd=folder)
    assert done.returncode == status
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_a_store_that_is_away_is_said(folder: Path) -> None:
    done = headrace("budget", "show", "p.yaml", "--store", f"unix://{folder}/none.sock", cwd=folder)
    assert (done.returncode, done.stderr.startswith("the store does not answer")) == (1, True)


def test_nobody_has_drawn_yet(folder: Path) -> None:
    with EmbeddedStore() as url:
        done = headrace("budget", "show", "p.yaml", "--store", url, cwd=folder)
    assert "nobody has drawn on a budget" in done.stdout
