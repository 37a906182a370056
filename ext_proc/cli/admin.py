"""`headrace admin`: tokens of the admin API. A token is shown once; its hash is what the store keeps."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from getpass import getuser
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.ext_proc.admin.tokens import ROSTER, FreshToken, Role, TokenRecord, fresh_token, revoked, unpacked
from headrace.ext_proc.cli.moments import moment
from headrace.ext_proc.cli.stores import StoreUrl, with_store

if TYPE_CHECKING:
    from headrace.ext_proc.core.ports import Store

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)
token = typer.Typer(no_args_is_help=True, help="Create, list and revoke tokens of the admin API.")
app.add_typer(token, name="token")

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Who = Annotated[
    str,
    typer.Option("--who", help="Who does it; kept in the audit trail.", default_factory=getuser, show_default="your login name"),
]
LINE = "%Y-%m-%dT%H:%MZ"


@app.callback()
def admin() -> None:
    """Tokens of the admin API, the audit trail, and the API's OpenAPI document."""


@app.command()
def openapi() -> None:
    """Print the OpenAPI 3.1 document of the admin API, as a service has it at /api/v1/openapi.json."""
    typer.echo(openapi_text(), nl=False)


def openapi_text() -> str:
    """The document as the tracked file has it."""
    from headrace.ext_proc.admin.openapi import document
    from headrace.ext_proc.admin.operations import OPERATIONS

    return json.dumps(document(OPERATIONS), indent=2) + "\n"


@app.command()
def audit(
    store: StoreUrl,
    by: Annotated[str | None, typer.Option(help="What this one did.")] = None,
    subject: Annotated[str | None, typer.Option(help="What was done to this key, token or adjustment, by its id.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="The latest so many.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """What was done about keys in the store, tokens and budgets, by whom, the latest first."""
    from pydantic import ValidationError

    from headrace.ext_proc.admin.audit import AuditQuery, deeds_of

    try:
        query = AuditQuery.model_validate({"by": by, "subject": subject, "limit": limit})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise typer.BadParameter(first["msg"], param_hint=f"--{first['loc'][0]}") from None
    deeds = with_store(store, lambda opened: deeds_of(opened, query))
    if as_json:
        typer.echo(json.dumps({"deeds": [deed.model_dump(mode="json") for deed in deeds]}, indent=2))
        return
    for deed in deeds:
        words = (f"{deed.at:%Y-%m-%dT%H:%M:%SZ}", deed.by, deed.what, deed.subject, deed.about, deed.reason)
        typer.echo("  ".join(word for word in words if word))


@token.command()
def create(
    store: StoreUrl,
    holder: Annotated[str, typer.Option(help="Whose token it is: a person, or a program that acts for nobody.")],
    role: Annotated[
        list[Role],
        typer.Option(help="viewer: look. operator: change keys and budgets. approver: approve what others ask for. Repeatable."),
    ],
    who: Who,
    expires: Annotated[str, typer.Option(help="When it ends: 12h, 90d, 8w from now, or a date such as 2027-01-31.")] = "90d",
    as_json: JsonOption = False,
) -> None:
    """Make a token and show it, this once. Nobody approves what the same holder has asked for, with whatever token."""
    now = _now()
    fresh = _fresh(holder, role, now, moment(expires, now, "--expires"), who)
    with_store(store, lambda opened: _put(opened, fresh.record, 0))
    if as_json:
        typer.echo(json.dumps({"token": fresh.secret, **_shown(fresh.record)}, indent=2))
        return
    typer.echo(fresh.secret)
    typer.echo(f"{fresh.record.id} is {holder}'s until {fresh.record.expires:{LINE}}. The line above is not shown again.", err=True)


@token.command("list")
def list_tokens(store: StoreUrl, as_json: JsonOption = False) -> None:
    """List the tokens: whose they are, what they may do, until when."""
    records = with_store(store, _all)
    if as_json:
        typer.echo(json.dumps({"tokens": [_shown(record) for record in records]}, indent=2))
        return
    for record in records:
        typer.echo("  ".join(_columns(record)))


@token.command()
def revoke(
    store: StoreUrl,
    id: Annotated[str, typer.Argument(help="As `list` shows it.", metavar="ID")],
    who: Who,
) -> None:
    """End a token now, on every service of the store."""
    with_store(store, lambda opened: _revoke(opened, id, who))
    typer.echo(f"{id} is revoked.")


def _fresh(holder: str, roles: list[Role], now: datetime, expires: datetime, by: str) -> FreshToken:
    """Raises BadParameter for a holder that cannot name anyone."""
    from pydantic import ValidationError

    try:
        return fresh_token(holder, roles, now, expires, by)
    except ValidationError as error:
        raise typer.BadParameter(error.errors(include_url=False)[0]["msg"], param_hint="--holder") from None


async def _put(store: "Store", record: TokenRecord, revision: int) -> None:
    """Raises StoreUnavailable. Ends the command where the roster is full, or another has changed the token meanwhile."""
    from headrace.ext_proc.core.roster import RosterFull

    try:
        if await store.enrol(ROSTER, record.id, record.packed(), revision=revision):
            return
        typer.echo(f"{record.id} was changed by somebody else at the same time; try again", err=True)
    except RosterFull as error:
        typer.echo(error, err=True)
    raise typer.Exit(1)


async def _all(store: "Store") -> list[TokenRecord]:
    """Those that can be read; the log names others."""
    from headrace.ext_proc.engine.rosters import everyone

    found = [unpacked(listed) async for listed in everyone(store, ROSTER)]
    return sorted((record for record in found if record is not None), key=lambda record: (record.created, record.id))


async def _revoke(store: "Store", id: str, by: str) -> None:
    listed = await store.listed(ROSTER, id) if id else None
    record = unpacked(listed) if listed else None
    if listed is None or record is None:
        raise typer.BadParameter(f"the store has no token {id!r}; `headrace admin token list` names them", param_hint="ID")
    await _put(store, revoked(record, _now(), by), listed.revision)


def _columns(record: TokenRecord) -> Iterator[str]:
    yield record.id
    yield _state(record)
    yield record.holder
    yield ",".join(record.roles)


def _shown(record: TokenRecord) -> dict[str, Any]:
    return {**record.model_dump(mode="json", exclude={"digest", "revoked", "history"}), "state": _state(record).split(" ")[0]}


def _state(record: TokenRecord) -> str:
    if record.revoked:
        return "revoked"
    return f"{'expired' if record.is_expired(_now()) else 'active until'} {record.expires:{LINE}}"


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
