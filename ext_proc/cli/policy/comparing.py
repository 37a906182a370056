"""What a candidate would have done otherwise, printed."""

from collections.abc import Iterator, Mapping
from typing import Any

from headrace.ext_proc.engine.comparing import Found


def document(found: Found) -> Mapping[str, Any]:
    """What `--json` prints."""
    rows = [
        {"change": change, "exchanges": count, "examples": found.examples[change]} for change, count in found.changes.most_common()
    ]
    return {
        "policy": found.policy,
        "candidate": found.candidate,
        "tried": found.tried,
        "different": found.outcomes["different"],
        "passed_over": found.outcomes["passed_over"],
        "failed": found.outcomes["failed"],
        "changes": rows,
        "teams": dict(found.teams.most_common()),
    }


def told(found: Found) -> Iterator[str]:
    """The same for people."""
    different = found.outcomes["different"]
    share = f" ({different / found.tried:.1%})" if found.tried else ""
    yield f"candidate {found.candidate} beside {found.policy}: {different} of {found.tried} exchanges differ{share}"
    for change, count in found.changes.most_common():
        yield f"{count:>8}  {change}{_such_as(found.examples[change])}"
    if found.teams:
        yield f"teams     {', '.join(f'{name} {count}' for name, count in found.teams.most_common(10))}"
    left = [f"{count} {words}" for name, words in _LEFT.items() if (count := found.outcomes[name])]
    if left:
        yield f"besides   {', '.join(left)}"


_LEFT = {"passed_over": "not tried, for the worker was too busy", "failed": "could not be tried"}


def _such_as(ids: list[str]) -> str:
    return f"; such as {', '.join(ids)}" if ids else ""
