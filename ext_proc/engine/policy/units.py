"""Numbers that were written with a unit, as the numbers that they are here."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

_WRITTEN: Final = re.compile(r"[$€]?\s*(?:([0-9]+,[0-9]{1,2}|0,[0-9]+)|([0-9][0-9_]*(?:,[0-9]{3})*(?:\.[0-9]+)?))\s*([A-Za-z%]*)")
"""A number with a comma before its decimals (0,60), or with commas between its thousands (1,500.25); and its unit."""
_SECONDS: Final[Mapping[str, Decimal]] = {
    unit: Decimal(seconds)
    for units, seconds in (
        ("ms millis milliseconds millisecond", "0.001"),
        ("s sec secs second seconds", "1"),
        ("m min mins minute minutes", "60"),
        ("h hr hour hours", "3600"),
        ("d day days", "86400"),
        ("w week weeks", "604800"),
    )
    for unit in units.split()
}
_COUNTS: Final = {"": 1, "k": 1000, "m": 10**6, "mio": 10**6, "g": 10**9, "b": 10**9, "tokens": 1, "requests": 1, "usd": 1}
_TIMES: Final = ("_timeout", "_seconds", "sliding")


def meant(text: str, key: str) -> str:
    """The number that `text` stands for as the value of `key`, whose name says in which unit it is; empty for none."""
    if (found := _WRITTEN.fullmatch(text.strip())) is None:
        return ""
    amount, unit = _amount(found), found[3].lower()
    if unit == "%":
        return _plain(amount / 100)
    if key.endswith(("_ms", *_TIMES)) and unit in _SECONDS:
        return _plain(amount * _SECONDS[unit] * (1000 if key.endswith("_ms") else 1))
    return _plain(amount * _COUNTS[unit]) if unit in _COUNTS else ""


def seconds(text: str) -> str:
    """The seconds of a duration, such as 3600 for 1h; empty for what is none, or is no whole number of them."""
    found = _WRITTEN.fullmatch(text.strip())
    if found is None or found[3].lower() not in _SECONDS:
        return ""
    length = _plain(_amount(found) * _SECONDS[found[3].lower()])
    return "" if "." in length else length


def _amount(found: re.Match[str]) -> Decimal:
    return Decimal(found[1].replace(",", ".") if found[1] else re.sub("[_,]", "", found[2]))


def _plain(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
