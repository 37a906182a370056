"""The README's examples work as they stand."""

import re
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from headrace.ext_proc.core.events import Answer, Proceed, Refuse
from headrace.ext_proc.engine.policy.compile import compile_policy
from headrace.ext_proc.engine.registry import GROUP, Ports, Registry
from headrace.ext_proc.stores.memory import MemoryStore
from tests.filters.compiled import Inline, ManualClock, compiled, exchange_with
from tests.kit import body, last, post

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


def example(language: str, text: str = README) -> str:
    """The one block of this language."""
    (block,) = re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)
    return cast(str, block)


@pytest.fixture
def own_filter() -> Registry:
    module = ModuleType("readme_filter")
    exec(compile(example("python"), "README.md", "exec"), module.__dict__)
    sys.modules["readme_filter"] = module
    found = re.search(r'turn-limit = "your_package:(\w+)"', README)
    assert found is not None
    return Registry([*entry_points(group=GROUP), EntryPoint("turn-limit", f"readme_filter:{found[1]}", GROUP)])


@pytest.mark.parametrize(("turns", "admitted"), [(20, True), (21, False)])
async def test_the_filter_of_the_readme_limits_turns(own_filter: Registry, tmp_path: Path, turns: int, admitted: bool) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text("version: 1\nfilters: [{turn-limit: {most: 20}}]\n", "utf-8")
    policy = compile_policy(path, own_filter, Ports(MemoryStore(), ManualClock(), Inline()))
    answer: Answer = await last(exchange_with(policy), post(), body(conversation(turns)))
    assert isinstance(answer, Proceed if admitted else Refuse)


def conversation(turns: int) -> Mapping[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}] * turns}


def test_the_filter_of_the_readme_has_about_twenty_lines() -> None:
    lines = [line for line in example("python").splitlines() if line.strip()]
    assert len(lines) <= 22


def test_the_policy_of_the_readme_compiles(tmp_path: Path) -> None:
    assert compiled(tmp_path, example("yaml")).revision


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "filters").glob("*.md")), ids=lambda page: page.stem)
def test_the_policies_of_the_filters_pages_compile(page: Path, tmp_path: Path) -> None:
    whole = [text for text in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL) if "version: 1" in text]
    for text in whole:
        assert compiled(tmp_path, text).revision


def test_every_link_within_the_documentation_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("envoy/*.md"), *ROOT.glob("tests/**/*.md")]
    links = [(page, link) for page in pages for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text("utf-8"))]
    assert [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()] == []
