"""Finding filters by their entry points, those of strangers included."""

import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from headrace.ext_proc.engine.registry import GROUP, FilterError, Registry

Modules = Callable[[str, str], EntryPoint]


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    """Writes a module and gives the entry point of its `Found`."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(name: str, text: str) -> EntryPoint:
        (tmp_path / f"stranger_{name}.py").write_text(textwrap.dedent(text))
        return EntryPoint(name, f"stranger_{name}:Found", GROUP)

    yield write
    for name in set(sys.modules) - before:
        if name.startswith("stranger_"):
            del sys.modules[name]


GOOD = """
    from headrace.ext_proc.engine.settings import FilterSettings
    class Found:
        name = "good"
        Settings = FilterSettings
"""


def problem(entry: EntryPoint) -> str:
    with pytest.raises(FilterError) as raised:
        Registry([entry]).load(entry.name)
    return str(raised.value)


def test_a_module_is_imported_when_its_filter_is_asked_for_and_not_before(module: Modules) -> None:
    registry = Registry([module("good", GOOD), module("other", "raise RuntimeError")])
    assert registry.names == ("good", "other")
    assert "stranger_good" not in sys.modules
    assert registry.load("good").name == "good"
    assert "stranger_other" not in sys.modules


def test_an_unknown_name_is_answered_with_the_nearest(module: Modules) -> None:
    registry = Registry([module("identity", GOOD), module("budget", GOOD)])
    with pytest.raises(FilterError, match=r"^there is no filter 'identiy'; did you mean 'identity'\?$"):
        registry.load("identiy")
    with pytest.raises(FilterError, match=r"^there is no filter 'zzz'; there is budget, identity$"):
        registry.load("zzz")
    with pytest.raises(FilterError, match=r"^there is no filter 'zzz'; there is none$"):
        Registry([]).load("zzz")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('no licence')", "cannot be loaded: RuntimeError: no licence"),
        ("raise SystemExit(3)", "cannot be loaded: SystemExit: 3"),
        ("import stranger_nowhere", "cannot be loaded: ModuleNotFoundError: No module named 'stranger_nowhere'"),
        ("def (:", "cannot be loaded: SyntaxError: invalid syntax (stranger_bad.py, line 1)"),
        ("Lost = 1", "cannot be loaded: AttributeError: module 'stranger_bad' has no attribute 'Found'"),
        ("Found = 1", "is no class with Settings derived from FilterSettings"),
        ("class Found:\n    Settings = dict", "is no class with Settings derived from FilterSettings"),
        (GOOD, "calls itself 'good'"),
    ],
)
def test_a_broken_filter_is_a_problem_that_names_its_origin(module: Modules, text: str, reason: str) -> None:
    assert problem(module("bad", text)) == f"filter 'bad' (stranger_bad:Found) {reason}"


def test_a_name_that_two_packages_claim_is_a_problem(module: Modules) -> None:
    mine, yours = module("good", GOOD), EntryPoint("good", "elsewhere:Good", GROUP)
    with pytest.raises(FilterError, match="registered more than once, as elsewhere:Good and stranger_good:Found"):
        Registry([mine, yours]).load("good")
    assert Registry([mine, mine]).load("good").name == "good"


def test_our_filters_are_registered() -> None:
    assert {"identity", "budget", "pii", "routing", "usage"} <= set(Registry.installed().names)
