"""`headrace usage`: what was used and what it cost, from the ledger in the store."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.ext_proc.cli.moments import instant
from headrace.ext_proc.cli.stores import StoreUrl, with_store
from headrace.ext_proc.cli.usage.form import Form
from headrace.ext_proc.cli.usage.reconcile import reconcile
from headrace.ext_proc.engine.usage.grouping import KEYS, Report

if TYPE_CHECKING:
    from headrace.ext_proc.core.ports import Store

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="What was used and what it cost, by the ledger.")

Organisation = Annotated[str, typer.Option(help="Whose ledger.")]
Start = Annotated[str | None, typer.Option("--from", help="From this day or instant on, UTC unless it has an offset: 2026-11-01.")]
End = Annotated[str | None, typer.Option("--to", help="Before this day or instant; now when absent.")]


@app.command()
def report(
    store: StoreUrl,
    by: Annotated[str, typer.Option(help=f"What to add up by, comma-separated, of {', '.join(KEYS)}.")] = "team,model",
    start: Start = None,
    end: End = None,
    organisation: Organisation = "default",
    form: Annotated[Form, typer.Option("--format", help="How it is printed.")] = Form.TABLE,
) -> None:
    """Requests, tokens and money, added up. `usd` is exact, from the prices that were charged; `released` are requests that cost
    nothing, because they were refused or failed upstream.
    """
    from headrace.ext_proc.cli.usage import printing

    names = [name.strip() for name in by.split(",")]
    if unknown := [name for name in names if name not in KEYS]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(KEYS)}", param_hint="--by")
    found = Report(names)
    _gather(store, organisation, *_bounds(start, end), found)
    typer.echo(printing.FORMS[form.value](found), nl=False)


@app.command()
def export(
    store: StoreUrl,
    out: Annotated[Path, typer.Argument(help="The Parquet file to write.", metavar="FILE")],
    start: Start = None,
    end: End = None,
    organisation: Organisation = "default",
) -> None:
    """Write every record to a Parquet file, one row each. Needs the extra `reports`."""
    from headrace.ext_proc.cli.files import FileError, replaced

    try:
        from headrace.ext_proc.cli.usage.parquet import write
    except ImportError:
        typer.echo("writing Parquet needs pyarrow: pip install '.[reports]' in a checkout of Headrace", err=True)
        raise typer.Exit(1) from None
    bounds = _bounds(start, end)
    try:
        with replaced(out) as beside:
            count = with_store(store, lambda opened: write(beside, opened, organisation, *bounds))
    except FileError as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{out}: {count} records")


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1000) + 1


def _bounds(start: str | None, end: str | None) -> tuple[int, int]:
    """Epoch ms: since ever where there is no start, up to now where there is no end. Raises BadParameter."""
    return 0 if start is None else instant(start, "--from"), _now() if end is None else instant(end, "--to")


def _gather(store: str, organisation: str, start: int, end: int, found: Report) -> None:
    from headrace.ext_proc.engine.usage.reading import records

    async def add(opened: "Store") -> None:
        async for record in records(opened, organisation, start, end):
            found.add(record)

    with_store(store, add)


app.command()(reconcile)
