"""`headrace apisix`: write APISIX's configuration for a policy, examine one."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.ext_proc.apisix.kinds import Part, RouteKind
from headrace.ext_proc.cli.envoy import Sockets, Workers, endpoints, put, told
from headrace.ext_proc.cli.files import read_text
from headrace.ext_proc.cli.serve import LISTEN

if TYPE_CHECKING:
    from headrace.ext_proc.apisix.settings import Server

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)

NEWEST = "3.18"
"""The newest APISIX whose sources the plugin has been written against."""


@app.callback()
def apisix() -> None:
    """APISIX's configuration for Headrace."""


@app.command()
def config(
    policy: Annotated[Path, typer.Argument(help="The policy file; its upstreams are where requests go.")],
    part: Annotated[
        Part,
        typer.Option(
            help="standalone: conf/apisix.yaml. admin: a script that puts the same through the Admin API, for etcd. config: what "
            "conf/config.yaml must have, nginx's settings included."
        ),
    ] = Part.STANDALONE,
    socket: Sockets = [LISTEN],  # noqa: B006 (typer copies it)
    workers: Workers = 1,
    routes: Annotated[
        RouteKind, typer.Option(help="Who calls the model servers: ai-proxy-multi (APISIX 3.14 and newer), or the plugin itself.")
    ] = RouteKind.AI_PROXY,
    request_only: Annotated[bool, typer.Option("--request-only", help="Answers never pass the service.")] = False,
    lua_path: Annotated[str, typer.Option(help="Where the plugin's Lua files are; /opt/headrace/… when absent.")] = "",
    output: Annotated[Path | None, typer.Option(help="The file to write; standard output when absent.")] = None,
) -> None:
    """Write APISIX's configuration for the upstreams a policy names. A policy that asks for more than APISIX can do is refused."""
    with told():
        from headrace.ext_proc.apisix import render
        from headrace.ext_proc.apisix.settings import LUA_PATH, ApisixSettings, checked_service

        settings = ApisixSettings(
            service=checked_service(endpoints(socket, workers)),
            servers=_servers(policy, request_only=request_only),
            kind=routes,
            lua_path=lua_path or LUA_PATH,
            request_only=request_only,
        )
        writers = {Part.STANDALONE: render.render_standalone, Part.ADMIN: render.render_admin, Part.CONFIG: render.render_config}
        put(writers[part](settings), output)


def _servers(policy: Path, *, request_only: bool) -> "Sequence[Server]":
    """Raises PolicyErrors for a policy that APISIX cannot carry out, and ApisixError for upstreams that it cannot call."""
    from headrace.ext_proc.apisix.settings import ApisixError, servers_of
    from headrace.ext_proc.engine.policy.gateways import Gateway
    from headrace.ext_proc.service.stack import read_document

    document = read_document(policy, Gateway.APISIX_REQUEST_ONLY if request_only else Gateway.APISIX)
    if not document.upstreams:
        raise ApisixError(f"{policy}: there are no upstreams to send requests to; add them under upstreams")
    return servers_of({name: upstream.url for name, upstream in document.upstreams.items()})


@app.command()
def doctor(
    configs: Annotated[
        list[Path],
        typer.Argument(help="Files of one APISIX: conf/config.yaml, conf/apisix.yaml, answers of the Admin API.", metavar="CONFIG"),
    ],
    version: Annotated[str, typer.Option("--apisix", help="The version of APISIX, such as 3.16.")] = NEWEST,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Find the settings that would break Headrace, each with its line and the mend. Ends with 1 if it finds any."""
    number = re.fullmatch(r"(\d+)\.(\d+)(\.\d+)?", version)
    if number is None:
        raise typer.BadParameter(f"{version!r} is no version such as 3.16", param_hint="--apisix")
    with told():
        from headrace.ext_proc.apisix.doctor import examine

        found = examine({str(path): read_text(path) for path in configs}, (int(number[1]), int(number[2])))
    if as_json:
        typer.echo(json.dumps({"apisix": version, "ok": not found, "findings": [vars(one) for one in found]}, indent=2))
    elif found:
        typer.echo("\n".join(map(str, found)))
    else:
        typer.echo(f"{', '.join(map(str, configs))}: nothing would break Headrace on APISIX {version}")
    raise typer.Exit(bool(found))
