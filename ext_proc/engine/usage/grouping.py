"""Sums over the ledger's records, by whatever they are asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

NANO: Final = Decimal(10) ** 9
WHO: Final = ("organisation", "team", "app", "user", "key")
KEYS: Final = (*WHO, "model", "served", "route", "endpoint", "outcome", "day", "price_revision")
TOKENS: Final = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
COLUMNS: Final = ("requests", "released", *TOKENS, "usd")


@dataclass
class Sums:
    """Of one group. requests: those that were charged; released: those that cost nothing."""

    requests: int = 0
    released: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TOKENS, 0))
    nano_usd: int = 0

    def add(self, record: Mapping[str, str]) -> None:
        if record.get("outcome") == "released":
            self.released += 1
            return
        self.requests += 1
        for name in TOKENS:
            self.tokens[name] += int(record.get(name, 0))
        self.nano_usd += int(record.get("nano_usd", 0))

    @property
    def row(self) -> Sequence[str]:
        """In the order of COLUMNS."""
        numbers = (self.requests, self.released, *self.tokens.values())
        return (*map(str, numbers), f"{(Decimal(self.nano_usd) / NANO).normalize():f}")


class Report:
    """by: names of KEYS."""

    def __init__(self, by: Sequence[str]) -> None:
        self.by = by
        self.groups: dict[tuple[str, ...], Sums] = {}
        self.total = Sums()

    def add(self, record: Mapping[str, str]) -> None:
        key = tuple(_value(record, name) for name in self.by)
        self.groups.setdefault(key, Sums()).add(record)
        self.total.add(record)

    def rows(self) -> Sequence[Sequence[str]]:
        """The dearest group first."""
        ordered = sorted(self.groups.items(), key=lambda pair: (-pair[1].nano_usd, pair[0]))
        return [(*key, *sums.row) for key, sums in ordered]


def _value(record: Mapping[str, str], name: str) -> str:
    if name != "day":
        return record.get(name, "")
    return datetime.fromtimestamp(int(record["at_ms"]) / 1000, UTC).date().isoformat()
