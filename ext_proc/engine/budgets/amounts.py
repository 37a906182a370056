"""Amounts as people read them."""

from decimal import Decimal

from headrace.ext_proc.core.ledger import Unit
from headrace.ext_proc.engine.prices import NANO


def quantity(unit: Unit, amount: int) -> str:
    """`1,200 tokens`, `1 request` or `$0.0042`."""
    if unit == "nano_usd":
        whole, _, parts = f"{Decimal(amount) / NANO:,.9f}".partition(".")
        return f"${whole}.{parts.rstrip('0').ljust(2, '0')}"
    word = "requests" if unit == "concurrency" else unit.replace("_", " ")
    return f"{amount:,} {word.removesuffix('s') if amount == 1 else word}"
