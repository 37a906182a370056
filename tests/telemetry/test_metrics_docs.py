"""The pages for operators say what there is: every metric, every option of `serve` and `up`."""

import re
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.cli.lazy import load
from headrace.ext_proc.telemetry import tracing
from headrace.ext_proc.telemetry.metrics import FAMILIES, Family

DOCS = Path(__file__).parents[2] / "docs"
OPERATIONS = (DOCS / "operations.md").read_text("utf-8")


def row(family: Family) -> str:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{name}` | {family.kind} | {labels} | {family.help} |"


def test_the_table_of_metrics_is_the_code_s() -> None:
    found = re.search(r"<!-- metrics:.*?-->\n(.*?)\n<!-- /metrics -->", OPERATIONS, re.DOTALL)
    assert found is not None
    assert found[1].splitlines() == ["| metric | kind | labels | |", "|---|---|---|---|", *map(row, FAMILIES)]


@pytest.mark.parametrize("command", ["serve", "up"])
def test_every_option_has_its_row_with_its_variables(command: str) -> None:
    page = (DOCS / "commands" / f"{command}.md").read_text("utf-8")
    rows = re.findall(r"^\| `(--[a-z-]+)` \| (.*?) \|", page, re.MULTILINE)
    assert dict(rows) == {option.opts[0]: variables(option) for option in load(command).params if option.opts[0].startswith("--")}


def variables(option: Any) -> str:
    names = [option.envvar] if isinstance(option.envvar, str) else option.envvar
    return ", ".join(f"`{name}`" for name in names)


def test_metrics_the_text_names_exist() -> None:
    names = {f"{family.name}_total" if family.kind == "counter" else family.name for family in FAMILIES}
    assert set(re.findall(r"\bheadrace_[a-z_]+", OPERATIONS)) <= names


def test_attributes_the_text_names_are_written() -> None:
    source = Path(tracing.__file__).read_text("utf-8")
    written = set(re.findall(r'"((?:gen_ai|headrace|http|error)\.[a-z_.]+)"', source))
    table = OPERATIONS.partition("| attribute | |")[2]
    named = set(re.findall(r"`((?:gen_ai|headrace|http|error)\.[a-z_.]+)`", table))
    named |= {f"gen_ai.usage{short}" for short in re.findall(r"`(\.[a-z_.]+)`", table)}
    assert named == written
