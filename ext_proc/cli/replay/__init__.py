"""`headrace replay`: recorded requests through two policies."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.ext_proc.cli.replay.playing import Comparison
    from headrace.ext_proc.cli.replay.traces import Named

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def replay(
    trace: Annotated[
        Path, typer.Argument(help="Requests, one JSON document a line; or an audit log's directory.", metavar="TRACE")
    ],
    policy: Annotated[Path, typer.Option("--policy", help="The policy as it is.", metavar="FILE")],
    against: Annotated[Path, typer.Option("--against", help="The policy as it would be.", metavar="FILE")],
    allowed: Annotated[
        float, typer.Option("--allow", help="Percent of requests that may come out differently.", min=0, max=100)
    ] = 100.0,
    master_key: Annotated[
        Path | None,
        typer.Option(help="A file with the master key of an audit log; else HEADRACE_AUDIT_MASTER_KEY has it.", metavar="FILE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Play recorded requests through two policies, in their order and at their times, and say what would change: refusals and their
    reasons, routes, findings, tokens and money. Nothing is sent. Ends with 1 when more changes than --allow, 2 for files that
    cannot be used.
    """
    from headrace.ext_proc.audit.errors import AuditError
    from headrace.ext_proc.cli.files import cannot_read
    from headrace.ext_proc.cli.replay.playing import compare, document
    from headrace.ext_proc.engine.policy.problems import PolicyErrors

    try:
        found = asyncio.run(compare(_lines(trace, master_key), policy, against))
    except (AuditError, PolicyErrors, OSError) as error:
        typer.echo(cannot_read(error) if isinstance(error, OSError) else error, err=True)
        raise typer.Exit(2) from None
    typer.echo(json.dumps(document(found), indent=2) if as_json else "\n".join(_told(found)))
    raise typer.Exit(found.changed * 100 > allowed * found.old.requests)


def _lines(trace: Path, master_key: Path | None) -> "Iterator[Named]":
    if trace.is_dir():
        from headrace.ext_proc.cli.replay.recorded import read_log

        return read_log(trace, master_key)
    from headrace.ext_proc.cli.replay.traces import read_trace

    return read_trace(trace)


def _told(found: "Comparison") -> Iterator[str]:
    from headrace.ext_proc.cli.replay.playing import rows

    share = f" ({found.changed / found.old.requests:.1%})" if found.old.requests else ""
    yield f"{found.changed} of {found.old.requests} requests come out differently{share}"
    for change, count in found.by_change.most_common():
        yield f"{count:>8}  {change}; such as {_named(found.examples[change])}"
    if found.by_caller:
        yield f"callers   {', '.join(f'{name} {count}' for name, count in found.by_caller.most_common(10))}"
    yield f"{'':<18} {'--policy':>14} {'--against':>14} {'':>14}"
    for what, old, new, difference in rows(found):
        yield f"{what:<18} {old:>14} {new:>14} {difference:>14}"


def _named(examples: "list[int | str]") -> str:
    """Lines of a trace by their numbers, exchanges of an audit log by their ids."""
    return f"{'line ' if isinstance(examples[0], int) else ''}{', '.join(map(str, examples))}"
