"""How soon answers begin, by upstream and model: a moving average of what this worker has seen, forgotten when it grows old."""

from dataclasses import dataclass
from typing import Final

from headrace.ext_proc.core.effects import Record

SHARE: Final = 0.2
"""Of the newest answer in the average: ten answers make up nine tenths of it."""

LAPSE_MS: Final = 60_000
"""After which an average without a new answer is forgotten, so that whoever was slow is tried again."""

MOST: Final = 10_000
"""Averages kept; policies have far fewer pools."""


@dataclass(slots=True)
class _Average:
    ms: float
    seen_ms: int


class Latency:
    """One worker's: each sees the part of the traffic whose access log it is sent."""

    def __init__(self) -> None:
        self._averages: dict[tuple[str, str], _Average] = {}

    def seen(self, upstream: str, model: str, ms: float, now_ms: int) -> None:
        """A streamed answer of the catalogue's entry `model` began `ms` after its request came."""
        known = self._averages.get((upstream, model))
        if known is None or now_ms - known.seen_ms > LAPSE_MS:
            if known is None and len(self._averages) >= MOST:
                self._averages.clear()
            self._averages[upstream, model] = _Average(ms, now_ms)
        else:
            known.ms += SHARE * (ms - known.ms)
            known.seen_ms = now_ms

    def of(self, upstream: str, model: str, now_ms: int) -> float | None:
        """Milliseconds; None where nothing has been seen lately."""
        known = self._averages.get((upstream, model))
        return None if known is None or now_ms - known.seen_ms > LAPSE_MS else known.ms

    def observe(self, record: Record) -> None:
        """An observer of the effect runner: streamed answers as the gateway reports them, but those after a failure."""
        told = record.members
        first_byte, start = told.get("first_byte_ms"), told.get("start_ms")
        if record.kind != "settlement" or not told.get("stream") or told.get("status") != 200 or "failed" in told:
            return
        if first_byte is not None and start and "route" in told and "model" in told:
            self.seen(told["route"], told["model"], first_byte, int(start + first_byte))
