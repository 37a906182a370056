"""What the commands of the audit log are told: which log, which records."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from headrace.ext_proc.cli.moments import instant

if TYPE_CHECKING:
    from headrace.ext_proc.audit.reading import Wanted

Result = TypeVar("Result")

Log = Annotated[Path, typer.Argument(help="The log's directory, or the policy that names it.", metavar="LOG")]
KeyFile = Annotated[
    Path | None,
    typer.Option(
        "--master-key",
        help="A file with the master key, in place of the policy's and of HEADRACE_AUDIT_MASTER_KEY.",
        metavar="FILE",
    ),
]
Bodies = Annotated[bool, typer.Option("--bodies", help="With what was asked and answered, decrypted with the master key.")]
Start = Annotated[str | None, typer.Option("--from", help="From this day or instant on, UTC unless it has an offset: 2026-11-01.")]
End = Annotated[str | None, typer.Option("--to", help="Before this day or instant.")]
Exchange = Annotated[str, typer.Option(help="Of this exchange, as the caller has it in x-headrace-exchange.", metavar="ID")]
Principal = Annotated[
    list[str] | None,
    typer.Option(help="Of this caller: team=blue; repeatable: organisation, team, app, user, key.", metavar="LEVEL=NAME"),
]
Kind = Annotated[list[str] | None, typer.Option(help="Of this kind: decision, forwarded, settlement and so on; repeatable.")]
OutcomeOption = Annotated[str, typer.Option("--outcome", help="How it ended: refused, handed_off, completed; settled, released.")]
Reason = Annotated[str, typer.Option(help="With this reason, of the refusal or of one verdict: budget.exhausted.")]


def wanted(
    start: str | None,
    end: str | None,
    exchange: str,
    principal: Sequence[str] | None,
    kinds: Sequence[str] | None,
    outcome: str,
    reason: str,
) -> "Wanted":
    """Raises BadParameter."""
    from headrace.ext_proc.audit.reading import Wanted

    return Wanted(
        kinds=frozenset(kinds or ()),
        start_ms=instant(start, "--from") if start else None,
        end_ms=instant(end, "--to") if end else None,
        exchange=exchange,
        principal=dict(_part(given) for given in principal or ()),
        outcome=outcome,
        reason=reason,
    )


def _part(given: str) -> tuple[str, str]:
    from headrace.ext_proc.core.principal import LEVELS

    level, found, name = given.partition("=")
    if level not in LEVELS or not found:
        raise typer.BadParameter(f"{given!r} is none of {', '.join(f'{level}=NAME' for level in LEVELS)}", param_hint="--principal")
    return level, name


def or_end(act: Callable[[], Result]) -> Result:
    """What `act` gives; the command ends with 2 where the log, its keys or the policy cannot be used."""
    from headrace.ext_proc.audit.errors import AuditError
    from headrace.ext_proc.engine.policy.problems import PolicyErrors

    try:
        return act()
    except (AuditError, PolicyErrors) as error:
        typer.echo(error, err=True)
    except OSError as error:
        typer.echo(f"{error.filename}: {error.strerror}" if error.filename else str(error), err=True)
    raise typer.Exit(2)


def counted(number: int, thing: str) -> str:
    """`1 record`, `1,000 records`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
