"""A provider's invoice or export of usage: a CSV file as lines that say what was used on which days, with which model.

Sources of the columns' names: what the dashboards of OpenAI (Usage, Costs) and Anthropic (Usage, Cost) export.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar

from headrace.ext_proc.engine.usage.cells import CellError, count_of, day_of, last_day_of, money_of, name_of

Value = TypeVar("Value")
COUNTS: Final = ("requests", "input_tokens", "cached_tokens", "output_tokens")
MEASURES: Final = (*COUNTS, "usd")
COLUMNS: Final = ("day", "model", *MEASURES)
"""What a column may hold; `headrace usage report --by day,model --format csv` has them under these names."""


class InvoiceError(ValueError):
    """A file that cannot be read as an invoice, or compared; says what, and what would be right. line: of the file, or None."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line

    def in_file(self, path: Path) -> str:
        """`invoice.csv:14: …`"""
        return f"{path}: {self}" if self.line is None else f"{path}:{self.line}: {self}"


@dataclass(frozen=True, slots=True)
class Line:
    """number: in the file, whose header is 1. first, last: the days it covers, both included. model: as the provider calls it;
    empty where the line is of none. amounts: by MEASURES, of those that the file has; usd may be negative, for credits.
    """

    number: int
    first: date
    last: date
    model: str
    amounts: Mapping[str, Decimal]


@dataclass(frozen=True)
class Form:
    """Which columns say what. marks: a header with all of these is of this form. day, until: alternatives, the first that is there
    counts; `until` is the end of the time, not included. amounts: columns that are added up, those that are there.
    """

    name: str
    marks: Sequence[str]
    day: Sequence[str]
    model: str
    amounts: Mapping[str, Sequence[str]]
    until: Sequence[str] = ()
    currency: str | None = None
    model_of: Callable[[str], str] = name_of


def _of_line_item(text: str) -> str:
    """`gpt-4o-2024-08-06, cached input`: what was paid for stands behind the model, whose name has no comma."""
    return name_of(text.partition(",")[0])


_UNTIL = ("end_time_iso", "end_time")
FORMS: Final = (
    Form(
        "OpenAI, usage",
        marks=("start_time", "num_model_requests"),
        day=("start_time_iso", "start_time"),
        until=_UNTIL,
        model="model",
        amounts={
            "requests": ("num_model_requests",),
            "input_tokens": ("input_tokens",),
            "cached_tokens": ("input_cached_tokens",),
            "output_tokens": ("output_tokens",),
        },
    ),
    Form(
        "OpenAI, costs",
        marks=("start_time", "amount_value"),
        day=("start_time_iso", "start_time"),
        until=_UNTIL,
        model="line_item",
        amounts={"usd": ("amount_value",)},
        currency="amount_currency",
        model_of=_of_line_item,
    ),
    Form(
        "Anthropic, usage",
        marks=("usage_date_utc", "usage_output_tokens"),
        day=("usage_date_utc",),
        model="model_version",
        amounts={
            "input_tokens": (
                "usage_input_tokens_no_cache",
                "usage_input_tokens_cache_write_5m",
                "usage_input_tokens_cache_write_1h",
                "usage_input_tokens_cache_read",
            ),
            "cached_tokens": ("usage_input_tokens_cache_read",),
            "output_tokens": ("usage_output_tokens",),
        },
    ),
    Form(
        "Anthropic, cost",
        marks=("usage_date_utc", "cost_usd"),
        day=("usage_date_utc",),
        model="model",
        amounts={"usd": ("cost_usd",)},
    ),
    Form("columns named as here", marks=("day",), day=("day",), model="model", amounts={name: (name,) for name in MEASURES}),
)


def form_of(columns: Mapping[str, str]) -> Form:
    """What somebody says of a file of another form: name of COLUMNS → column. Raises ValueError."""
    if unknown := [name for name in columns if name not in COLUMNS]:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(COLUMNS)}")
    if "day" not in columns:
        raise ValueError("which column has the day? (day=COLUMN)")
    amounts = {name: (column,) for name, column in columns.items() if name in MEASURES}
    named = tuple(columns.values())
    return Form("columns given", marks=named, day=(columns["day"],), model=columns.get("model", ""), amounts=amounts)


@dataclass(frozen=True)
class Invoice:
    """measures: of MEASURES, those that the file has. lines: read as they are asked for, once; raise InvoiceError."""

    form: Form
    measures: Sequence[str]
    has_models: bool
    lines: Iterator[Line]


def read_invoice(rows: Iterable[str], zone: tzinfo, form: Form | None = None) -> Invoice:
    """rows: the text, line by line. zone: of days and times that name none. form: by the header when None. Raises InvoiceError."""
    table = _cells(rows)
    _, header = next(table, (1, []))
    names = [name.strip() for name in header]
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise InvoiceError(f"two columns are named {_listed(twice[:1])}", 1)
    form = form or _recognised(names)
    if missing := [name for name in form.marks if name not in names]:
        raise InvoiceError(f"there is no column {_listed(missing[:1])}; there are {_listed(names)}", 1)
    reader = _Reader(form, names, zone)
    return Invoice(form, tuple(reader.sources), form.model in names, reader.lines(table))


def _recognised(columns: Sequence[str]) -> Form:
    found = next((form for form in FORMS if all(mark in columns for mark in form.marks)), None)
    if found is None:
        known = "; ".join(f"{form.name}: {', '.join(form.marks)}" for form in FORMS)
        raise InvoiceError(f"a header of no form that is known ({known}); it has {_listed(columns)}", 1)
    return found


def _listed(columns: Iterable[str]) -> str:
    """For a message; the file may hold anything."""
    return ascii(list(columns)[:30])[1:-1][:600] or "none"


def _cells(rows: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """(line of the file where it ends, cells), without empty lines."""
    reader = csv.reader(rows, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise InvoiceError(f"not CSV: {error}", reader.line_num) from None
    except UnicodeDecodeError as error:
        raise InvoiceError(f"not UTF-8: {error.reason}") from None


class _Reader:
    """Of one file, whose header is known. sources: measure → the columns that make it up."""

    def __init__(self, form: Form, header: Sequence[str], zone: tzinfo) -> None:
        self._form, self._zone, self._width = form, zone, len(header)
        self._places = {name: place for place, name in enumerate(header)}
        present = {name: [one for one in sources if one in header] for name, sources in form.amounts.items()}
        self.sources = {name: sources for name, sources in present.items() if sources}
        if not self.sources:
            raise InvoiceError(f"no column has an amount; there are {_listed(header)}", 1)
        self._day = next(name for name in form.day if name in header)
        self._until = next((name for name in form.until if name in header), None)

    def lines(self, table: Iterable[tuple[int, Sequence[str]]]) -> Iterator[Line]:
        """Those with an amount: some exports have a line for every day, used or not."""
        for number, row in table:
            if len(row) != self._width:
                raise InvoiceError(f"{len(row)} cells under a header of {self._width}", number)
            if any(self._cell(row, source) for sources in self.sources.values() for source in sources):
                yield self._line(number, row)

    def _cell(self, row: Sequence[str], name: str) -> str:
        return row[self._places[name]].strip()

    def _line(self, number: int, row: Sequence[str]) -> Line:
        self._in_dollars(number, row)
        first = self._read(number, row, self._day, lambda text: day_of(text, self._zone))
        last = self._read(number, row, self._until, lambda text: last_day_of(text, self._zone)) if self._until else first
        if last < first:
            raise InvoiceError(f"{self._until}: ends before it begins, on {first}", number)
        model = self._read(number, row, self._form.model, self._form.model_of) if self._form.model in self._places else ""
        return Line(number, first, last, model, {name: self._sum(number, row, name) for name in self.sources})

    def _in_dollars(self, number: int, row: Sequence[str]) -> None:
        currency = self._form.currency
        if currency is not None and currency in self._places and (given := self._cell(row, currency)).lower() not in ("usd", ""):
            raise InvoiceError(f"{currency}: {_listed([given[:20]])} is not usd, in which the ledger is kept", number)

    def _sum(self, number: int, row: Sequence[str], name: str) -> Decimal:
        parse = money_of if name == "usd" else count_of
        return sum((self._read(number, row, source, parse) for source in self.sources[name]), Decimal(0))

    def _read(self, number: int, row: Sequence[str], name: str, parse: Callable[[str], Value]) -> Value:
        try:
            return parse(self._cell(row, name))
        except CellError as error:
            raise InvoiceError(f"{name}: {error}", number) from None
