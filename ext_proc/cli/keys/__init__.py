"""`headrace keys`: API keys, in a file or in the service's store. A secret is shown once; its HMAC is what is kept."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from getpass import getuser
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.ext_proc.cli.moments import moment

if TYPE_CHECKING:
    from headrace.ext_proc.cli.keys.books import Book
    from headrace.ext_proc.engine.key_changes import FreshKey
    from headrace.ext_proc.engine.keys import KeyRecord

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)

File = Annotated[Path, typer.Option("--file", help="The key file; a policy names it under identity, api_keys.")]
InStore = Annotated[bool, typer.Option("--in-store", help="Keys in the service's store, for api_keys: {store: true}.")]
StoreUrl = Annotated[
    str | None, typer.Option("--store", help="With --in-store: its URL, as for `headrace serve`.", envvar="HEADRACE_STORE")
]
Who = Annotated[
    str,
    typer.Option(
        "--who", help="Who does it; kept with keys in the store.", default_factory=getuser, show_default="your login name"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Pepper = Annotated[
    Path | None,
    typer.Option("--pepper-file", help="The pepper; made with a first key. Default: headrace.pepper beside the key file."),
]
Id = Annotated[str, typer.Argument(help="The id of the key, as `headrace keys list` shows it.", metavar="ID")]
KEY_FILE = Path("keys.yaml")


@app.callback()
def keys() -> None:
    """Create, list, rotate and revoke API keys. A running service takes the changes up within two seconds."""


@app.command()
def create(
    who: Who,
    file: File = KEY_FILE,
    organisation: Annotated[str | None, typer.Option(help="Whose key it is. Budgets count per organisation,")] = None,
    team: Annotated[str | None, typer.Option(help="per team,")] = None,
    app: Annotated[str | None, typer.Option(help="per app,")] = None,
    user: Annotated[str | None, typer.Option(help="per user, and per key.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model it may ask for, or a glob; repeatable. Default: all.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 12h, 90d, 8w from now, or a date such as 2027-01-31 (its first moment, UTC).")
    ] = None,
    in_store: InStore = False,
    store: StoreUrl = None,
    pepper_file: Pepper = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once. The file and the pepper are made when they are not there, for their owner alone."""
    names = {"organisation": organisation, "team": team, "app": app, "user": user}
    members: dict[str, Any] = {name: value for name, value in names.items() if value is not None}
    members["expires"] = None if expires is None else moment(expires, datetime.now(UTC), "--expires")
    members["models"] = tuple(model or ())
    with _explained():
        book = _book(file, store, pepper_file, who, in_store=in_store)
        fresh = book.add(lambda pepper: _fresh(pepper, who if in_store else "", members))
    _show_once(fresh, book, as_json=as_json)


@app.command()
def rotate(
    id: Id,
    who: Who,
    file: File = KEY_FILE,
    overlap: Annotated[
        str, typer.Option(help="How long the old key still works: 0h, 24h, 7d from now, or until a date. Never beyond its own end.")
    ] = "24h",
    expires: Annotated[str | None, typer.Option(help="When the new key ends; when the old one would have, if not given.")] = None,
    in_store: InStore = False,
    store: StoreUrl = None,
    pepper_file: Pepper = None,
    as_json: AsJson = False,
) -> None:
    """Make a key for the same caller and models, show it, this once, and let the old one end after an overlap."""
    from headrace.ext_proc.engine.key_changes import rotated

    now, by = _now(), who if in_store else ""
    until = moment(overlap, now, "--overlap")
    ends = None if expires is None else moment(expires, now, "--expires")
    with _explained():
        book = _book(file, store, pepper_file, who, in_store=in_store)
        fresh, ending = book.rotate(id, lambda old, pepper: rotated(old, pepper, now, by, until=until, expires=ends))
    _show_once(fresh, book, as_json=as_json)
    typer.echo(f"{id} works until {ending.expires:%Y-%m-%dT%H:%M:%SZ}.", err=True)


@app.command("list")
def list_keys(file: File = KEY_FILE, in_store: InStore = False, store: StoreUrl = None, as_json: AsJson = False) -> None:
    """List the keys: whom each is for, which models, until when. Keys themselves are not kept and not shown."""
    with _explained():
        kept = _book(file, store, None, "", in_store=in_store).all()
    if as_json:
        typer.echo(json.dumps({"keys": [_shown(key) for key in kept]}, indent=2))
        return
    for key in kept:
        typer.echo("  ".join(_columns(key)))


@app.command()
def revoke(id: Id, who: Who, file: File = KEY_FILE, in_store: InStore = False, store: StoreUrl = None) -> None:
    """Revoke a key. It is kept, disabled, so that its id still means something in old records."""
    with _explained():
        _book(file, store, None, who, in_store=in_store).revoke(id, _now())
    typer.echo(f"{id} is revoked.")


def _book(file: Path, store: str | None, pepper: Path | None, who: str, *, in_store: bool) -> "Book":
    """Raises BadParameter for the store's keys without a store."""
    from headrace.ext_proc.cli.keys.books import FileBook, StoreBook
    from headrace.ext_proc.engine.keys import PEPPER_NAME

    if not in_store:
        return FileBook(file, pepper or file.parent / PEPPER_NAME)
    if not store:
        raise typer.BadParameter(
            "say which store, by --store URL or the environment variable HEADRACE_STORE", param_hint="--in-store"
        )
    return StoreBook(store, pepper or Path(PEPPER_NAME), who)


def _fresh(pepper: bytes, by: str, members: dict[str, Any]) -> "FreshKey":
    """Raises BadParameter for names that cannot name anyone."""
    from pydantic import ValidationError

    from headrace.ext_proc.engine.key_changes import fresh_key

    try:
        return fresh_key(pepper, _now(), by, **members)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = {"models": "model"}.get(str(first["loc"][0]), str(first["loc"][0]))
        raise typer.BadParameter(first["msg"], param_hint=f"--{name}") from None


def _show_once(fresh: "FreshKey", book: "Book", *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"key": fresh.secret, **_shown(fresh.record)}, indent=2))
        return
    typer.echo(fresh.secret)
    typer.echo(f"{fresh.record.id} is in {book}. The line above is the key; it is not kept and cannot be shown again.", err=True)


def _columns(key: "KeyRecord") -> Iterator[str]:
    yield key.id
    yield _state(key)
    for name in ("organisation", "team", "app", "user"):
        if value := getattr(key, name):
            yield f"{name}={value}"
    yield f"models={','.join(key.models) or '*'}"


def _state(key: "KeyRecord") -> str:
    from headrace.ext_proc.engine.key_changes import state_of

    state = state_of(key, _now())
    if state == "revoked" or key.expires is None:
        return state
    return f"{'until' if state == 'active' else state} {key.expires:%Y-%m-%dT%H:%MZ}"


def _shown(key: "KeyRecord") -> dict[str, Any]:
    return {**key.model_dump(mode="json", exclude={"digest", "history"}), "state": _state(key)}


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of files, of the store and of the pepper as a sentence, and an exit status of 1."""
    from headrace.ext_proc.core.errors import HeadraceError

    try:
        yield
    except (HeadraceError, OSError) as error:
        typer.echo(error if isinstance(error, HeadraceError) else f"{error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
