"""Values of options that are more than words; what is wrong with one is said with the option's name."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import typer

from headrace.ext_proc.cli.files import FileError, read_bytes

if TYPE_CHECKING:
    from headrace.ext_proc.envoy.transport import Tls

Value = TypeVar("Value")


def parsed(option: str, parse: Callable[[str], Value], text: str) -> Value:
    """What `parse` makes of it; its ValueError as typer.BadParameter."""
    try:
        return parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def configure_logs(level: str) -> None:
    """Raises typer.BadParameter for a word that is no level."""
    from headrace.ext_proc.telemetry import logs

    if level not in logs.LEVELS:
        raise typer.BadParameter(f"{level!r} is none of {', '.join(logs.LEVELS)}", param_hint="--log-level")
    logs.configure(level)


def collector(url: str) -> str:
    """The URL of `--otlp`; empty for none. Raises typer.BadParameter."""
    parts = urlsplit(url)
    if url and not (parts.scheme in ("http", "https") and parts.hostname):
        raise typer.BadParameter(f"{url!r} is no URL such as http://127.0.0.1:4318", param_hint="--otlp")
    return url


def shared_store(url: str) -> str:
    """The URL of `--store`. Raises typer.BadParameter for the one of the tests, which every process would have to itself."""
    if url.startswith("memory:"):
        raise typer.BadParameter("memory:// is no store that processes share; such as redis://127.0.0.1:6379", param_hint="--store")
    return url


def tls(prefix: str, certificate: str, key: str, client_ca: str = "") -> "Tls | None":
    """prefix: of the options' names. None where none is given. Raises typer.BadParameter for half of what TLS needs, and for files
    that cannot be used.
    """
    from headrace.ext_proc.envoy.transport import Tls

    given = {f"{prefix}-cert": certificate, f"{prefix}-key": key, f"{prefix}-client-ca": client_ca}
    if not any(given.values()):
        return None
    if not (certificate and key):
        raise typer.BadParameter(f"TLS needs both {prefix}-cert and {prefix}-key", param_hint=f"{prefix}-cert")
    for option, path in given.items():
        if path:
            _check_readable(option, path)
    found = Tls(certificate, key, client_ca)
    try:
        found.context()
    except OSError as error:  # an SSLError is one
        said = f"{certificate} and {key} are no certificate and its key in PEM: {error.strerror or error}"
        raise typer.BadParameter(said, param_hint=f"{prefix}-cert") from None
    return found


def _check_readable(option: str, path: str) -> None:
    try:
        read_bytes(Path(path))
    except FileError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
