"""`headrace audit`: the audit log verified, shown, exported, erased. What operators did is `headrace admin audit`."""

import json
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.ext_proc.cli.audit.asking import Log, counted, or_end
from headrace.ext_proc.cli.audit.showing import export, show
from headrace.ext_proc.cli.moments import instant

if TYPE_CHECKING:
    from headrace.ext_proc.audit.signing import PublicKey
    from headrace.ext_proc.audit.verifying import Head, Verified

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="The audit log: verified, shown, exported, erased.")

Policy = Annotated[Path, typer.Argument(help="The policy that names the log.", metavar="POLICY")]


@app.command()
def verify(
    log: Log,
    public_key: Annotated[
        Path | None, typer.Option(help="A copy of the public key, kept elsewhere; by default the log's own.", metavar="FILE")
    ] = None,
    heads: Annotated[
        Path | None,
        typer.Option(help="What `headrace audit heads` printed earlier: nothing up to there may be missing.", metavar="FILE"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find any record, segment or chain that was removed, changed, repeated, moved or added. Ends with 1 when there is one, with 2
    when the log cannot be read.
    """
    from headrace.ext_proc.audit.verifying import problems_of, spelled

    found = _looked(log, public_key, heads)
    if as_json:
        counts = {"chains": found.chains, "segments": found.segments, "records": found.records}
        told = {"problems": problems_of(found), "notes": spelled(found.notes), "heads": found.heads}
        typer.echo(json.dumps({"verified": not found.problems, **counts, **told}, indent=2))
        raise typer.Exit(bool(found.problems))
    for line in problems_of(found):
        typer.echo(line, err=True)
    for line in spelled(found.notes):
        typer.echo(f"{line} (a note)", err=True)
    verdict = counted(len(found.problems), "problem") if found.problems else "as they were written"
    typer.echo(
        f"{counted(found.records, 'record')} in {counted(found.segments, 'segment')} of {counted(found.chains, 'chain')}: {verdict}"
    )
    raise typer.Exit(bool(found.problems))


@app.command()
def heads(log: Log) -> None:
    """Print where every chain ends now, as JSON. Kept out of reach of the log's machine, it lets `verify --heads` find what was cut
    off.
    """
    found = _looked(log, None, None)
    typer.echo(json.dumps(found.heads, indent=2))
    raise typer.Exit(bool(found.problems))


@app.command("public-key")
def public_key(log: Log) -> None:
    """Print the public key that checks the log's signatures (PEM)."""
    typer.echo(or_end(lambda: _public_key(log)).pem.decode(), nl=False)


@app.command()
def erase(
    policy: Policy,
    tenant: Annotated[str, typer.Argument(help="Whose bodies: ORGANISATION, ORGANISATION/TEAM or ORGANISATION/TEAM/USER.")],
    who: Annotated[str, typer.Option("--who", help="Who does it; kept in the manifest.", default_factory=getuser)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Destroy a tenant's data keys, and those of the tenants below it: nobody can read its bodies any more, or tell what they
    were. The records stay, and the chains stay valid.
    """
    from headrace.ext_proc.audit.erasing import erase as destroy
    from headrace.ext_proc.audit.opening import policy_terms
    from headrace.ext_proc.audit.vault import LEVELS

    terms = or_end(lambda: policy_terms(policy))
    if not yes:
        typer.confirm(f"Destroy the data keys of {tenant}? Nothing brings them back.", abort=True)
    parts = tuple(tenant.split("/", len(LEVELS[terms.settings.keys_per]) - 1))
    ids = or_end(lambda: destroy(terms, parts, who))
    typer.echo(f"{counted(len(ids), 'data key')} of {tenant} destroyed{': ' if ids else ''}{', '.join(ids)}")
    raise typer.Exit(not ids)


@app.command()
def remove(
    policy: Policy,
    before: Annotated[
        str, typer.Option(help="Segments whose last record is older than this day or instant, UTC unless it has an offset.")
    ],
) -> None:
    """Delete complete segments, and say so in the manifest, so that `verify` does not miss them. Export them first."""
    from headrace.ext_proc.audit.erasing import remove as delete
    from headrace.ext_proc.audit.opening import policy_terms

    at_ms = instant(before, "--before")
    terms = or_end(lambda: policy_terms(policy))
    typer.echo(f"{counted(or_end(lambda: delete(terms, at_ms)), 'segment')} deleted")


app.command()(show)
app.command()(export)


def _looked(log: Path, public_key: Path | None, heads: Path | None) -> "Verified":
    from headrace.ext_proc.audit.opening import opened
    from headrace.ext_proc.audit.signing import PublicKey
    from headrace.ext_proc.audit.verifying import verified

    kept = _heads(heads) if heads is not None else None
    return or_end(lambda: verified(opened(log).home.path, PublicKey.read(public_key) if public_key else None, kept))


def _heads(path: Path) -> "dict[str, Head]":
    import msgspec

    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, tuple[int, str]])
    except (OSError, msgspec.DecodeError) as error:
        typer.echo(f"{path}: is no output of `headrace audit heads`: {error}", err=True)
        raise typer.Exit(2) from None


def _public_key(log: Path) -> "PublicKey":
    from headrace.ext_proc.audit.opening import opened
    from headrace.ext_proc.audit.signing import PUBLIC, PublicKey

    return PublicKey.read(opened(log).home.keys / PUBLIC)
