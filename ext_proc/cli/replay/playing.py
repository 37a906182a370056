"""Plays a trace through two policies side by side, each on counters of its own, and counts in what they differ."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.ext_proc.cli.replay.traces import Line, Named
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.outcomes import Cost, changes, outcome_of
from headrace.ext_proc.engine.policy.compile import compile_policy
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.engine.trial import Played, Trial
from headrace.ext_proc.engine.warming import warm
from headrace.ext_proc.stores.memory import MemoryStore

MOST_EXAMPLES = 3
"""Lines of the trace named for each change."""


@dataclass
class TraceClock:
    """As late as the line that is played."""

    ms: int = 0

    def now_ms(self) -> int:
        return self.ms


@dataclass
class Comparison:
    """changed: requests that come out differently. by_change: how many differ in this; examples: what their lines are found by."""

    old: Cost = field(default_factory=Cost)
    new: Cost = field(default_factory=Cost)
    changed: int = 0
    by_change: Counter[str] = field(default_factory=Counter)
    by_caller: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[int | str]] = field(default_factory=dict)

    def add(self, name: int | str, old: Played, new: Played) -> None:
        before, after = outcome_of(old.record), outcome_of(new.record)
        self.old.add(before, _settlement(old))
        self.new.add(after, _settlement(new))
        found = list(changes(before, after))
        self.changed += bool(found)
        for change in found:
            self.by_change[change] += 1
            if len(lines := self.examples.setdefault(change, [])) < MOST_EXAMPLES:
                lines.append(name)
        if found:
            self.by_caller[_caller(old.record) or _caller(new.record) or "unknown"] += 1


def _settlement(played: Played) -> Mapping[str, Any]:
    return played.settlements[-1] if played.settlements else {}


def _caller(record: Mapping[str, Any]) -> str:
    who: Mapping[str, str] = record.get("principal", {})
    return who.get("team") or who.get("user") or who.get("organisation", "")


async def compare(lines: Iterable[Named], old: Path, new: Path) -> Comparison:
    """Raises PolicyErrors of either policy, and what reading the lines raises."""
    clock = TraceClock()
    comparison = Comparison()
    async with _trial(old, clock) as before, _trial(new, clock) as after:
        for name, line in lines:
            clock.ms = line.at_ms(clock.ms)
            comparison.add(name, *[await _play(trial, line) for trial in (before, after)])
    return comparison


def _trial(path: Path, clock: TraceClock) -> Trial:
    store, offload = MemoryStore(), ThreadOffload()
    policy = compile_policy(path, Registry.installed(), Ports(store, clock, offload))
    return Trial(warm(policy, offload), store, clock)


async def _play(trial: Trial, line: Line) -> Played:
    answer = line.answered
    return await trial.play(line.request.asked, answer.answered if answer else None, line.principal)


def document(comparison: Comparison) -> Mapping[str, Any]:
    """What `--json` prints."""
    rows = comparison.by_change.most_common()
    return {
        "requests": comparison.old.requests,
        "changed": comparison.changed,
        "changes": [{"change": change, "requests": count, "lines": comparison.examples[change]} for change, count in rows],
        "callers": dict(comparison.by_caller.most_common()),
        "policy": _cost(comparison.old),
        "against": _cost(comparison.new),
    }


def _cost(cost: Cost) -> Mapping[str, Any]:
    return {
        "refused": cost.refused,
        "input_tokens": cost.input_tokens,
        "output_tokens": cost.output_tokens,
        "usd": str(cost.usd),
    }


def rows(comparison: Comparison) -> Sequence[tuple[str, str, str, str]]:
    """The table of sums: what, under each policy, and the difference."""
    old, new = comparison.old, comparison.new
    return [
        _row("requests refused", old.refused, new.refused),
        _row("tokens of prompts", old.input_tokens, new.input_tokens),
        _row("tokens of answers", old.output_tokens, new.output_tokens),
        ("USD", f"{old.usd:f}", f"{new.usd:f}", f"{new.usd - old.usd:+f}"),
    ]


def _row(what: str, old: int, new: int) -> tuple[str, str, str, str]:
    return what, f"{old:,}", f"{new:,}", f"{new - old:+,}"
