"""`headrace usage reconcile`: a provider's invoice beside the ledger."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo

import typer

from headrace.ext_proc.cli.stores import STORE, with_store
from headrace.ext_proc.cli.usage.form import Form
from headrace.ext_proc.engine.usage.invoice import COLUMNS, InvoiceError, form_of, read_invoice
from headrace.ext_proc.engine.usage.invoice import Form as InvoiceForm
from headrace.ext_proc.engine.usage.reconciling import BY, Reconciliation, Scope, Tolerance

if TYPE_CHECKING:
    from headrace.ext_proc.core.ports import Store

UNUSABLE: Final = 2
"""Exit code where nothing could be compared; 1 says that something differs."""

LINE_MAX: Final = 200_000
"""Characters; of a longer line the parser is shown pieces, which it refuses."""

Records = AsyncIterator[Mapping[str, str]]


@dataclass(frozen=True)
class Source:
    """Where the ledger's records are: a store's ledgers, or files that `usage export` has written."""

    store: str | None
    organisations: Sequence[str]
    files: Sequence[Path]
    routes: Sequence[str]

    def counts(self, record: Mapping[str, str]) -> bool:
        return not self.routes or any(fnmatchcase(record.get("route", ""), glob) for glob in self.routes)


def reconcile(
    invoice: Annotated[Path, typer.Argument(help="A CSV file of the provider's.", metavar="INVOICE.csv")],
    store: Annotated[str | None, STORE] = None,
    ledger: Annotated[
        list[Path] | None, typer.Option(help="A file of `usage export` instead of the store; may be repeated.", metavar="FILE")
    ] = None,
    organisation: Annotated[list[str] | None, typer.Option(help="Whose ledger; may be repeated. Default: default.")] = None,
    route: Annotated[
        list[str] | None,
        typer.Option(help="Only what this upstream served, a name or a glob; may be repeated. Default: all.", metavar="UPSTREAM"),
    ] = None,
    by: Annotated[str, typer.Option(help="What is compared: day,model, or one of them.")] = "day,model",
    start: Annotated[str | None, typer.Option("--from", help="From this day on: 2026-11-01. Default: the invoice's first.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Before this day. Default: after the invoice's last.")] = None,
    zone: Annotated[str, typer.Option("--time-zone", help="Of days, and of times without an offset.")] = "UTC",
    column: Annotated[
        list[str] | None,
        typer.Option(help=f"Which column has what, in a file of another form; of {', '.join(COLUMNS)}.", metavar="WHAT=COLUMN"),
    ] = None,
    name: Annotated[
        list[str] | None, typer.Option(help="What the ledger calls a model of the invoice; may be repeated.", metavar="MODEL=MODEL")
    ] = None,
    percent: Annotated[str, typer.Option("--tolerance", help="Percent of the invoice that may differ.", metavar="PERCENT")] = "1",
    usd: Annotated[str, typer.Option("--tolerance-usd", help="Dollars of a line that may differ, at least.")] = "0.01",
    every: Annotated[bool, typer.Option("--all", help="Show in the table what agrees, too.")] = False,
    form: Annotated[Form, typer.Option("--format", help="How it is printed.")] = Form.TABLE,
) -> None:
    """Compare a provider's invoice with the ledger, line by line. Reads what OpenAI and Anthropic export, usage and costs, and
    with --column any CSV file. Ends with 1 when something differs, with 2 when nothing could be compared.
    """
    from headrace.ext_proc.cli.usage.differences import PRINTED

    tolerance = Tolerance(_amount(percent, "--tolerance"), _amount(usd, "--tolerance-usd"))
    source = _source(store, organisation, ledger, route)
    with _told(invoice):
        found = _billed(invoice, _compared_by(by), _zone(zone), (_day(start, "--from"), _day(end, "--to")), column, name)
        _book(found, source)
    comparisons = list(found.comparisons(tolerance))
    typer.echo(PRINTED[form.value](found.scope, comparisons, found.total(tolerance), every), nl=False)
    raise typer.Exit(any(one.verdict != "agrees" for one in comparisons))


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except InvoiceError as error:
        raise _unusable(error.in_file(path)) from None


def _unusable(message: str) -> typer.Exit:
    typer.echo(message, err=True)
    return typer.Exit(UNUSABLE)


def _billed(
    path: Path,
    by: Sequence[str],
    zone: ZoneInfo,
    days: tuple[date | None, date | None],
    column: Sequence[str] | None,
    name: Sequence[str] | None,
) -> Reconciliation:
    """With the invoice's lines. Raises InvoiceError."""
    given = _form(_pairs(column, "--column")) if column else None
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            invoice = read_invoice(iter(lambda: file.readline(LINE_MAX), ""), zone, given)
            if "model" in by and not invoice.has_models:
                raise InvoiceError("no column has the model; compare --by day", 1)
            found = Reconciliation(Scope(by, invoice.measures, zone, *days, _pairs(name, "--name")))
            for line in invoice.lines:
                found.bill(line)
    except OSError as error:
        raise _unusable(f"{path}: {error.strerror}") from None
    return found


def _book(found: Reconciliation, source: Source) -> None:
    """Raises InvoiceError where there is nothing to compare with."""
    if found.span is None:
        raise InvoiceError("no line of this time has an amount")
    start, end = found.span
    if source.store is None:
        asyncio.run(_add(found, source, _exported(source.files, start, end)))
        return
    with_store(source.store, lambda opened: _from_store(found, source, opened, start, end), failure=UNUSABLE)


async def _from_store(found: Reconciliation, source: Source, opened: "Store", start: int, end: int) -> None:
    from headrace.ext_proc.engine.usage.reading import records

    for organisation in source.organisations:
        for entry in await opened.entries(organisation, limit=1):
            _say_what_is_missing(organisation, int(entry.members["at_ms"]), start)
        await _add(found, source, records(opened, organisation, start, end))


def _say_what_is_missing(organisation: str, first_ms: int, start: int) -> None:
    if first_ms > start:
        first = datetime.fromtimestamp(first_ms // 1000, UTC).isoformat()
        typer.echo(f"the ledger of {organisation} begins with {first}; what was used before is not in it", err=True)


async def _add(found: Reconciliation, source: Source, records: Records) -> None:
    async for record in records:
        if source.counts(record):
            found.book(record)


async def _exported(files: Sequence[Path], start: int, end: int) -> Records:
    try:
        from headrace.ext_proc.cli.usage.parquet import read
    except ImportError:
        raise _unusable("reading Parquet needs pyarrow: pip install '.[reports]' in a checkout of Headrace") from None
    try:
        for record in read(files, start, end):
            yield record
    except (ValueError, OSError) as error:
        raise _unusable(str(error)) from None


def _source(
    store: str | None, organisation: Sequence[str] | None, files: Sequence[Path] | None, route: Sequence[str] | None
) -> Source:
    if files:
        if organisation:
            raise typer.BadParameter("a file has the ledger of one organisation; leave this out", param_hint="--organisation")
        return Source(None, (), files, route or ())
    if store is None:
        raise typer.BadParameter("where is the ledger? Give --store URL, or --ledger FILE", param_hint="--store")
    return Source(store, organisation or ("default",), (), route or ())


def _form(columns: Mapping[str, str]) -> InvoiceForm:
    try:
        return form_of(columns)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--column") from None


def _compared_by(text: str) -> Sequence[str]:
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    if unknown := [name for name in names if name not in BY]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(BY)}", param_hint="--by")
    return names


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise typer.BadParameter(f"{name!r} is no time zone such as UTC or Europe/Berlin", param_hint="--time-zone") from None


def _day(text: str | None, option: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no day such as 2026-11-01", param_hint=option) from None


def _amount(text: str, option: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(-1)
    if not (number.is_finite() and 0 <= number <= 10**6):
        raise typer.BadParameter(f"{text!r} is no amount such as 0.5", param_hint=option)
    return number


def _pairs(given: Sequence[str] | None, option: str) -> Mapping[str, str]:
    """`name=value` each."""
    parts = [text.partition("=") for text in given or ()]
    if bad := ["".join(part) for part in parts if not (part[0] and part[2])]:
        raise typer.BadParameter(f"{bad[0]!r} is not of the form NAME=NAME", param_hint=option)
    return {name: value for name, _, value in parts}
