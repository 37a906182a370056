"""Templates: every value is escaped, unless a template says otherwise, and none does."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from headrace.ext_proc.admin.adjustments import unit_of
from headrace.ext_proc.core.ledger import UNITS, Unit
from headrace.ext_proc.engine.budgets.amounts import quantity
from headrace.ext_proc.engine.prices import NANO

HTMX: Final = "htmx-2.0.11.min.js"
NAVIGATION: Final = (
    ("", "Overview"), ("/budgets", "Budgets"), ("/decisions", "Decisions"), ("/policy", "Policy"), ("/playground", "Playground"),
    ("/keys", "Keys"), ("/activity", "Activity"),
)  # fmt: skip
HTMX_SETTINGS: Final = {
    "allowEval": False, "allowScriptTags": False, "includeIndicatorStyles": False, "selfRequestsOnly": True, "historyCacheSize": 0,
    "historyEnabled": True, "refreshOnHistoryMiss": True,
    "responseHandling": [{"code": "204", "swap": False}, {"code": "...", "swap": True}],
}  # fmt: skip
"""It neither evaluates nor injects anything, asks nobody else, and keeps no page in the browser's storage."""


UNITS_BY_NAME: Final[Mapping[str, Unit]] = {unit_of(unit): unit for unit in UNITS}


def render(template: str, **values: Any) -> str:
    return _environment.get_template(template).render(values)


def money(usd: Decimal | float | str) -> str:
    """`$12.40`; below a dollar, where requests are, three digits that count: `$0.0000352`."""
    amount = Decimal(str(usd))
    return f"${amount:,.2f}" if abs(amount) >= 1 or not amount else f"${Decimal(f'{amount:.2e}').normalize():f}"


def short(number: float) -> str:
    """`1,234`, `12.3k`, `4.5M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if letter == 'k' else size):.1f}".removesuffix(".0") + letter
    return f"{number:,.0f}" if float(number).is_integer() or abs(number) >= 100 else f"{number:.2g}"


def seconds(value: float | None) -> str:
    """`820 µs`, `4.1 ms`, `1.25 s`."""
    if value is None:
        return "–"
    if value < 1e-3:
        return f"{value * 1e6:.0f} µs"
    return f"{value * 1e3:.1f} ms" if value < 1 else f"{value:.2f} s"


def moment(at: datetime | int | str | None) -> str:
    """`21 Nov 2026, 13:05:09`, UTC. at: or epoch ms, or ISO 8601."""
    return f"{_utc(at):%-d %b %Y, %H:%M:%S}" if at is not None else "–"


def minute(at: datetime | int | str | None) -> str:
    """`21 Nov, 13:05`, UTC, for what is never more than a year away."""
    return f"{_utc(at):%-d %b, %H:%M}" if at is not None else "–"


def _utc(at: datetime | int | str) -> datetime:
    match at:
        case int():
            when = datetime.fromtimestamp(at / 1000, UTC)
        case str():
            when = datetime.fromisoformat(at)
        case datetime():
            when = at
    return when.astimezone(UTC)


def amount(value: str, unit: str) -> str:
    """As the admin API spells amounts, for people."""
    return money(value) if unit == "usd" else quantity(UNITS_BY_NAME[unit], int(value))


def whole(value: int, unit: Unit) -> str:
    """The same for amounts in whole units of the store."""
    return money(Decimal(value) / NANO) if unit == "nano_usd" else quantity(unit, value)


def pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _environment_of() -> Environment:
    loader = PackageLoader("headrace.ext_proc.admin.console")
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = (money, short, seconds, moment, minute, amount, whole, pretty, share)
    made.filters.update({one.__name__: one for one in shown})
    made.globals.update(navigation=NAVIGATION, htmx=HTMX, htmx_settings=json.dumps(HTMX_SETTINGS), root="/console")
    return made


_environment = _environment_of()
