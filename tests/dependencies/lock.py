"""requirements.lock and pyproject.toml as values."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURSELVES = "headrace"

_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?P<version>[^\s;\\]*)\s*(?:;(?P<marker>[^\\]*))?")
_HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
_VIA = re.compile(r"^ +#(?: via)? +([A-Za-z0-9._-]+)", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Locked:
    """One requirement. version: with its operator, `==1.2`. via: who requires it."""

    name: str
    version: str
    hashes: int
    via: frozenset[str]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(text: str) -> list[Locked]:
    """The entries of a lock as `uv pip compile` writes it."""
    blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    return [_entry(block) for block in blocks if not block.startswith("#")]


def _entry(block: str) -> Locked:
    found = _ENTRY.match(block)
    assert found is not None, block[:80]
    via = frozenset(normal(name) for name in _VIA.findall(block) if name != "via")
    return Locked(normal(found["name"]), found["version"], len(_HASH.findall(block)), via)


def lock() -> list[Locked]:
    return locked((ROOT / "requirements.lock").read_text("utf-8"))


def direct() -> list[str]:
    """What pyproject.toml names, in its order."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    groups: Mapping[str, list[str]] = project["project"]["optional-dependencies"] | project["dependency-groups"]
    return [_named(line) for lines in (project["project"]["dependencies"], *groups.values()) for line in lines]


def _named(requirement: str) -> str:
    found = _NAME.match(requirement)
    assert found is not None, requirement
    return normal(found[0])


def reasons() -> Iterator[tuple[str, str]]:
    """Job and package of every row of docs/dependencies.md."""
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    for row in re.findall(r"^\| (.+) \|$", page, re.MULTILINE):
        job, package, _ = [cell.strip() for cell in f"{row} ".split(" | ", 2)]
        if package != "package":
            yield job, normal(package)
