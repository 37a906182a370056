"""How far estimated counts of prompts are from what providers report, by model: a moving ratio that corrects the next estimates."""

from dataclasses import dataclass
from typing import Final

from headrace.ext_proc.core.effects import Record

SEEN: Final = 8
"""Reports before a ratio counts: single prompts are off by more than models are."""

KEPT: Final = 0.98
"""Of what was learned, at each further report: the last fifty make up two thirds."""

HEAVIEST: Final = 4096
"""Tokens that one report weighs at most, so that one long document is not all that is known of a model."""

LEAST: Final = 0.25
MOST: Final = 4.0
"""Bounds of a ratio: budgets and pools are held by it, and what an upstream reports may be wrong."""

MODELS: Final = 1000
"""Ratios kept; catalogues are smaller, and a policy that is reloaded brings other names."""


@dataclass(slots=True)
class _Learned:
    reported: float = 0.0
    estimated: float = 0.0
    seen: int = 0


class Ratios:
    """One worker's, by the catalogue's entry; empty when it starts."""

    def __init__(self) -> None:
        self._learned: dict[str, _Learned] = {}

    def of(self, model: str) -> float:
        """Tokens that are reported for each one estimated; 1 until enough is known."""
        learned = self._learned.get(model)
        if learned is None or learned.seen < SEEN:
            return 1.0
        return min(max(learned.reported / learned.estimated, LEAST), MOST)

    def learn(self, model: str, reported: int, estimated: int) -> None:
        """A prompt was estimated, without correction, and its provider has counted it. Both must be positive."""
        if model not in self._learned and len(self._learned) >= MODELS:
            self._learned.clear()
        learned = self._learned.setdefault(model, _Learned())
        weight = min(1.0, HEAVIEST / estimated)
        learned.reported = learned.reported * KEPT + reported * weight
        learned.estimated = learned.estimated * KEPT + estimated * weight
        learned.seen += 1

    def observe(self, record: Record) -> None:
        """An observer of the effect runner: an exchange tells its usage once, with its settlement where it has one."""
        told = record.members
        if record.kind == "decision" and "reserved" in told:
            return
        model, estimated = told.get("metadata", told).get("model"), told.get("estimated")
        reported = (told.get("usage") or {}).get("input_tokens")
        if isinstance(model, str) and estimated and reported:
            self.learn(model, reported, estimated)
