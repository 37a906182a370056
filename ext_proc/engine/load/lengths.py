"""How long answers become, by model: the last ones that this worker's settlements told of."""

from collections import deque
from collections.abc import Sequence
from typing import Final

from headrace.ext_proc.core.effects import Record

SEEN: Final = 8
"""Answers before they count: fewer say little of how they differ."""

KEPT: Final = 64
"""Answers remembered of a model."""

MODELS: Final = 1000
"""Models remembered; catalogues are smaller."""


class Lengths:
    """One worker's, by the catalogue's entry; empty when it starts."""

    def __init__(self) -> None:
        self._answers: dict[str, deque[int]] = {}
        self._sorted: dict[str, Sequence[int]] = {}

    def of(self, model: str) -> Sequence[int]:
        """Tokens of its last answers, in order of size; empty until enough are known."""
        answers = self._answers.get(model, ())
        if len(answers) < SEEN:
            return ()
        if (found := self._sorted.get(model)) is None:
            found = self._sorted[model] = tuple(sorted(answers))
        return found

    def learn(self, model: str, tokens: int) -> None:
        """An answer had so many."""
        if model not in self._answers and len(self._answers) >= MODELS:
            self._answers.clear()
            self._sorted.clear()
        self._answers.setdefault(model, deque(maxlen=KEPT)).append(tokens)
        self._sorted.pop(model, None)

    def observe(self, record: Record) -> None:
        """An observer of the effect runner: an exchange tells its usage once, with its settlement where it has one."""
        told = record.members
        if record.kind == "decision" and "reserved" in told:
            return
        model, tokens = told.get("metadata", told).get("model"), (told.get("usage") or {}).get("output_tokens")
        if isinstance(model, str) and isinstance(tokens, int) and tokens > 0:
            self.learn(model, tokens)
