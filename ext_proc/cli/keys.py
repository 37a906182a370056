"""`headrace keys`: API keys in a file. A secret is shown once; its HMAC is what is kept."""

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from headrace.ext_proc.engine.keys import KeyRecord

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)

FileOption = Annotated[Path, typer.Option("--file", help="The key file; a policy names it under identity, api_keys.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
PepperOption = Annotated[
    Path | None, typer.Option(help="The pepper; made with a first key. Default: headrace.pepper beside the key file.")
]
IdArgument = Annotated[str, typer.Argument(help="The id of the key, as `headrace keys list` shows it.", metavar="ID")]
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


@app.callback()
def keys() -> None:
    """Create, list, rotate and revoke API keys. A running service takes the changes up within a second."""


@app.command()
def create(
    file: FileOption = Path("keys.yaml"),
    organisation: Annotated[str | None, typer.Option(help="Whose key it is. Budgets count per organisation,")] = None,
    team: Annotated[str | None, typer.Option(help="per team,")] = None,
    app: Annotated[str | None, typer.Option(help="per app,")] = None,
    user: Annotated[str | None, typer.Option(help="per user, and per key.")] = None,
    model: Annotated[list[str] | None, typer.Option(help="A model it may ask for, or a glob; repeatable. Default: all.")] = None,
    expires: Annotated[
        str | None, typer.Option(help="When it ends: 12h, 90d, 8w from now, or a date such as 2027-01-31 (its first moment, UTC).")
    ] = None,
    pepper_file: PepperOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key and show it, this once. The file and the pepper are made when they are not there, for their owner alone."""
    from headrace.ext_proc.engine.keys import PEPPER_NAME, digest, new_id, new_secret

    ends = None if expires is None else _end(expires, datetime.now(UTC), "--expires")
    secret = new_secret()
    with _explained(), _locked(file):
        kept = _read(file, missing=())
        pepper = _pepper(pepper_file or file.parent / PEPPER_NAME)
        names = {"organisation": organisation, "team": team, "app": app, "user": user}
        given = {name: value for name, value in names.items() if value is not None}
        key = _record(id=new_id(), digest=digest(pepper, secret), models=model or [], created=_now(), expires=ends, **given)
        _write(file, (*kept, key))
    _show_once(secret, key, file, as_json)


@app.command()
def rotate(
    id: IdArgument,
    file: FileOption = Path("keys.yaml"),
    overlap: Annotated[
        str, typer.Option(help="How long the old key still works: 0h, 24h, 7d from now, or until a date. Never beyond its own end.")
    ] = "24h",
    expires: Annotated[str | None, typer.Option(help="When the new key ends; when the old one would have, if not given.")] = None,
    pepper_file: PepperOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key for the same caller and models, show it, this once, and let the old one end after an overlap."""
    from headrace.ext_proc.engine.keys import PEPPER_NAME, digest, load_pepper, new_id, new_secret

    now = _now()
    last = _end(overlap, now, "--overlap")
    ends = None if expires is None else _end(expires, now, "--expires")
    secret = new_secret()
    with _explained(), _locked(file):
        kept = _read(file)
        old = _usable(_find(kept, id, file))
        pepper = load_pepper(pepper_file or file.parent / PEPPER_NAME, os.environ)
        fresh = {"id": new_id(), "digest": digest(pepper, secret), "created": now, "expires": ends or old.expires}
        key, ending = old.model_copy(update=fresh), old.model_copy(update={"expires": min(last, old.expires or last)})
        _write(file, (*(ending if one.id == id else one for one in kept), key))
    _show_once(secret, key, file, as_json)
    typer.echo(f"{id} works until {ending.expires:%Y-%m-%dT%H:%M:%SZ}.", err=True)


@app.command("list")
def list_keys(file: FileOption = Path("keys.yaml"), as_json: JsonOption = False) -> None:
    """List the keys in a file: whom each is for, which models, until when. Keys themselves are not kept and not shown."""
    with _explained():
        kept = _read(file)
    if as_json:
        typer.echo(json.dumps({"keys": [_shown(key) for key in kept]}, indent=2))
        return
    for key in kept:
        typer.echo("  ".join(_columns(key)))


@app.command()
def revoke(
    id: IdArgument,
    file: FileOption = Path("keys.yaml"),
) -> None:
    """Revoke a key. It stays in the file, disabled, so that its id still means something in old records."""
    with _explained(), _locked(file):
        kept = _read(file)
        _find(kept, id, file)
        _write(file, tuple(key.model_copy(update={"disabled": True}) if key.id == id else key for key in kept))
    typer.echo(f"{id} is revoked.")


def _find(kept: Sequence["KeyRecord"], id: str, file: Path) -> "KeyRecord":
    """Raises BadParameter where there is none."""
    from headrace.ext_proc.engine.policy.problems import suggestion

    for key in kept:
        if key.id == id:
            return key
    hint = suggestion(id, [key.id for key in kept[-10:]])
    raise typer.BadParameter(f"{file} has no key {id!r}; {hint}", param_hint="ID")


def _usable(key: "KeyRecord") -> "KeyRecord":
    """Raises BadParameter for one that has ended: rotating it would bring back what somebody has taken away."""
    if key.disabled or key.is_expired(int(_now().timestamp() * 1000)):
        raise typer.BadParameter(f"{key.id} is {_state(key)}; make a new key with `headrace keys create`", param_hint="ID")
    return key


def _show_once(secret: str, key: "KeyRecord", file: Path, as_json: bool) -> None:
    typer.echo(json.dumps({"key": secret, **_shown(key)}, indent=2) if as_json else secret)
    if not as_json:
        typer.echo(f"{key.id} is in {file}. The line above is the key; it is not kept and cannot be shown again.", err=True)


def _columns(key: "KeyRecord") -> Iterator[str]:
    yield key.id
    yield _state(key)
    for name in ("organisation", "team", "app", "user"):
        if value := getattr(key, name):
            yield f"{name}={value}"
    yield f"models={','.join(key.models) or '*'}"


def _state(key: "KeyRecord") -> str:
    if key.disabled:
        return "revoked"
    if key.expires is None:
        return "active"
    return f"{'expired' if key.is_expired(int(_now().timestamp() * 1000)) else 'until'} {key.expires:%Y-%m-%dT%H:%MZ}"


def _shown(key: "KeyRecord") -> dict[str, Any]:
    return {**key.model_dump(mode="json", exclude={"digest", "history"}), "state": _state(key)}


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def _end(expires: str, now: datetime, option: str) -> datetime:
    """Raises BadParameter for what is neither a time from now nor a date to come."""
    hint = f"{expires!r} is neither a time from now (12h, 90d, 8w) nor a date to come (2027-01-31, 2027-01-31T12:00:00Z)"
    try:
        if expires[-1:] in _UNITS and expires[:-1].isdecimal():
            return now.replace(microsecond=0) + timedelta(**{_UNITS[expires[-1]]: int(expires[:-1])})
        end = datetime.fromisoformat(expires)
        end = (end if end.tzinfo else end.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(hint, param_hint=option) from None
    if end <= now:
        raise typer.BadParameter(hint, param_hint=option)
    return end


def _record(**members: Any) -> "KeyRecord":
    """Raises BadParameter for names that cannot name anyone."""
    from pydantic import ValidationError

    from headrace.ext_proc.engine.keys import KeyRecord

    try:
        return KeyRecord(**members)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = {"models": "model"}.get(str(first["loc"][0]), str(first["loc"][0]))
        raise typer.BadParameter(first["msg"], param_hint=f"--{name}") from None


def _pepper(path: Path) -> bytes:
    """Raises PepperError and OSError."""
    from headrace.ext_proc.engine.keys import PEPPER_VARIABLE, load_pepper, make_pepper

    if PEPPER_VARIABLE not in os.environ and not path.exists():
        make_pepper(path)
        typer.echo(f"Made {path}: keep it secret, and give it to every service that reads these keys.", err=True)
    return load_pepper(path, os.environ)


def _read(file: Path, missing: Sequence["KeyRecord"] | None = None) -> tuple["KeyRecord", ...]:
    """Raises PolicyErrors. missing: what a file that is not there holds; None: that is an error."""
    from headrace.ext_proc.engine.key_files import read_keys

    if missing is not None and not file.exists():
        return tuple(missing)
    return read_keys(file)


def _write(file: Path, kept: tuple["KeyRecord", ...]) -> None:
    from headrace.ext_proc.engine.key_files import write_keys

    write_keys(file, kept)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One change of a directory's key files at a time: what two commands add at once, both find in the file."""
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of files and of the pepper as a sentence, and an exit status of 1."""
    from headrace.ext_proc.core.errors import HeadraceError

    try:
        yield
    except (HeadraceError, OSError) as error:
        typer.echo(error if isinstance(error, HeadraceError) else f"{error.filename}: {error.strerror}", err=True)
        raise typer.Exit(1) from None
