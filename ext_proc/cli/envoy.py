"""`headrace envoy`: write Envoy's configuration, put Headrace into one, examine one."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from headrace.ext_proc.cli.files import read_text, write_text
from headrace.ext_proc.cli.serve import LISTEN
from headrace.ext_proc.envoy.config.names import BODY_LIMIT, CLUSTER, ROUTE_HEADER, UsageReader

if TYPE_CHECKING:
    from headrace.ext_proc.envoy.config.doctor import Finding, Wanted
    from headrace.ext_proc.envoy.config.settings import Address

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)

Sockets = Annotated[
    list[str],
    typer.Option(
        "--socket",
        help="Where the service listens, as given to `headrace serve --listen`: unix:/path or host:port. Repeatable.",
    ),
]
Workers = Annotated[int, typer.Option(min=1, max=256, help="As given to `headrace serve --workers`: one endpoint each.")]
BodyLimit = Annotated[int, typer.Option(min=1, max=2**32 - 1, help="Bytes of the largest prompt.")]
Usage = Annotated[
    UsageReader,
    typer.Option(
        help="Who reads the usage in answers. service: for an Envoy that cannot, before 1.38 or in Istio's proxy; all answers then "
        "pass through the service."
    ),
]
MessageTimeout = Annotated[float, typer.Option(min=0.1, help="Seconds the service may take for a request.")]


@app.callback()
def envoy() -> None:
    """Envoy's configuration for Headrace."""


@app.command()
def config(
    policy: Annotated[Path, typer.Argument(help="The policy file; its upstreams are where requests go.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Envoy's port.")] = 10000,
    host: Annotated[str, typer.Option(help="The address Envoy listens on; 0.0.0.0 for all.")] = "127.0.0.1",
    socket: Sockets = [LISTEN],  # noqa: B006 (typer copies it)
    workers: Workers = 1,
    body_limit: BodyLimit = BODY_LIMIT,
    message_timeout: MessageTimeout = 5.0,
    usage: Usage = UsageReader.GATEWAY,
    admin: Annotated[str, typer.Option(help="Envoy's admin interface: unix:/path or a loopback address; none when absent.")] = "",
    ca_file: Annotated[
        str, typer.Option(help="Certificate authorities for https upstreams.")
    ] = "/etc/ssl/certs/ca-certificates.crt",
    output: Annotated[Path | None, typer.Option(help="The file to write; standard output when absent.")] = None,
) -> None:
    """Write a complete bootstrap for the upstreams a policy names. Run it with `envoy -c`."""
    with told():
        from headrace.ext_proc.envoy.config.bootstrap import render_bootstrap
        from headrace.ext_proc.envoy.config.settings import Address
        from headrace.ext_proc.service.gateway import gateway_of
        from headrace.ext_proc.service.stack import read_document

        document = read_document(policy)
        if not document.upstreams:
            raise ValueError(f"{policy}: there are no upstreams to send requests to; add them under upstreams")
        settings = gateway_of(
            document,
            service=endpoints(socket, workers),
            listen=Address(host=host, port=port),
            body_limit=body_limit,
            message_timeout=message_timeout,
            usage=usage,
            admin=Address.parse(admin) if admin else None,
            ca_file=ca_file,
        )
        put(render_bootstrap(settings), output)


@app.command()
def patch(
    bootstrap: Annotated[Path, typer.Argument(help="Envoy's bootstrap, YAML or JSON.")],
    socket: Sockets = [LISTEN],  # noqa: B006 (typer copies it)
    workers: Workers = 1,
    listener: Annotated[
        list[str], typer.Option(help="Patch only this listener; all that handle HTTP when absent. Repeatable.")
    ] = [],  # noqa: B006 (typer copies it)
    body_limit: BodyLimit = BODY_LIMIT,
    message_timeout: MessageTimeout = 5.0,
    usage: Usage = UsageReader.GATEWAY,
    policy: Annotated[Path | None, typer.Option(help="The policy that is served: what it asks of your routes is told.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Change the file instead of printing the result.")] = False,
) -> None:
    """Put Headrace into a bootstrap you already have: the service's cluster, the filters, the access log, limits and headers.
    Comments and order stay, and so does a transport_socket of the cluster; running it twice changes nothing. Blanks within {} and
    indents that differ within the file are written alike. Routes to upstreams, failover and upstreams' credentials are yours to
    write. What was changed, and what is left for you, goes to standard error.
    """
    with told():
        from headrace.ext_proc.envoy.config.document import parse
        from headrace.ext_proc.envoy.config.patch import Attachment
        from headrace.ext_proc.envoy.config.patch import patch as apply

        original = read_text(bootstrap)
        document = parse(original, str(bootstrap))
        attachment = Attachment(endpoints(socket, workers), frozenset(listener), body_limit, message_timeout, usage)
        report = apply(document, attachment)
        text = document.text() if report.changes else original
        notes = [*report.notes, *(_left(text, str(bootstrap), policy) if policy else _untold(report.unrouted))]
        if report.changes or not in_place:
            put(text, bootstrap if in_place else None)
    for line in [f"changed: {change}" for change in report.changes] or ["nothing to change"]:
        typer.echo(line, err=True)
    _note(notes)


@app.command()
def doctor(
    configs: Annotated[
        list[Path], typer.Argument(help="Bootstraps, or answers of the admin interface's /config_dump.", metavar="CONFIG")
    ],
    policy: Annotated[
        Path | None, typer.Option(help="The policy that is served: what it asks of the gateway is looked for, too.")
    ] = None,
    cluster: Annotated[str, typer.Option(help="The name of the service's cluster.")] = CLUSTER,
    body_limit: BodyLimit = BODY_LIMIT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find the settings that would break Headrace without a word, each with its line and the mend. Ends with 1 if it finds any."""
    with told():
        from headrace.ext_proc.envoy.config.doctor import examine, unseen
        from headrace.ext_proc.envoy.config.document import parse_with_lines

        wanted = _wanted(policy) if policy else None
        documents = {path: parse_with_lines(read_text(path), str(path)) for path in configs}
        found = {path: examine(document, cluster, body_limit, wanted) for path, document in documents.items()}
        notes = {path: unseen(document, cluster) for path, document in documents.items()}
    if as_json:
        typer.echo(json.dumps({"files": [_as_json(path, findings, notes[path]) for path, findings in found.items()]}, indent=2))
    else:
        for path, findings in found.items():
            nothing = "nothing that stands here" if notes[path] else "nothing"
            typer.echo("\n".join(map(str, findings)) if findings else f"{path}: {nothing} would break Headrace")
            _note(notes[path])
    raise typer.Exit(any(found.values()))


def _untold(unrouted: "Sequence[str]") -> list[str]:
    """What can be said of the routes without a policy. unrouted: listeners."""
    what = f"no route matches the header {ROUTE_HEADER} yet, so that routing decisions have no effect: see envoy/README.md"
    asked = "whether your routes are as a policy asks (its upstreams, failover, credentials) is told with --policy"
    return [*(f"listener {name}: {what}" for name in unrouted), asked]


def _left(text: str, name: str, policy: Path) -> list[str]:
    """What a policy asks of the gateway, and no patch adds."""
    from headrace.ext_proc.envoy.config.doctor import examine
    from headrace.ext_proc.envoy.config.doctor.wanted import RULE_NAMES
    from headrace.ext_proc.envoy.config.document import parse_with_lines

    findings = examine(parse_with_lines(text, name), wanted=_wanted(policy))
    return list(dict.fromkeys(f"{one.what}; {one.mend}" for one in findings if one.rule in RULE_NAMES))


def _wanted(policy: Path) -> "Wanted":
    from headrace.ext_proc.service.gateway import wanted_of
    from headrace.ext_proc.service.stack import read_document

    return wanted_of(read_document(policy))


def _note(notes: "Sequence[str]") -> None:
    for note in notes:
        typer.echo(f"note: {note}", err=True)


def _as_json(path: Path, findings: "Sequence[Finding]", notes: "Sequence[str]") -> dict[str, Any]:
    listed = [{"line": one.line, "rule": one.rule, "what": one.what, "mend": one.mend} for one in findings]
    return {"file": str(path), "ok": not findings, "findings": listed, "notes": notes}


def endpoints(sockets: Sequence[str], workers: int) -> "tuple[Address, ...]":
    """Every worker's address, as `headrace serve` derives them."""
    from headrace.ext_proc.envoy.config.settings import check_endpoints
    from headrace.ext_proc.service.addresses import parse_address, worker_addresses

    found = tuple(address for text in sockets for address in worker_addresses(parse_address(text), workers))
    check_endpoints(found)
    return found


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turns the errors of this command's work into a line on standard error and exit status 1."""
    from pydantic import ValidationError

    from headrace.ext_proc.core.errors import HeadraceError

    try:
        yield
    except ModuleNotFoundError as error:
        _end(f"{error.name} is not installed: pip install '.[stack]' in a checkout of Headrace")
    except ValidationError as error:
        places = {".".join(map(str, one["loc"])): one["msg"].removeprefix("Value error, ") for one in error.errors()}
        _end("\n".join(f"{place}: {message}" for place, message in places.items()))
    except (HeadraceError, ValueError) as error:
        _end(str(error))


def _end(message: str) -> NoReturn:
    typer.echo(message, err=True)
    raise typer.Exit(1)


def put(text: str, output: Path | None) -> None:
    """Into the file, or to standard output. Raises FileError."""
    if output is None:
        typer.echo(text, nl=False)
    else:
        write_text(output, text)
