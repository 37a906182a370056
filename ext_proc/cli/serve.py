"""`headrace serve`: the service alone."""

from typing import TYPE_CHECKING

import typer

from headrace.ext_proc.cli import serving
from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.envoy.transport import DEFAULT

if TYPE_CHECKING:
    from headrace.ext_proc.envoy.config.settings import Address
    from headrace.ext_proc.service.forking import ForkServerProcess
    from headrace.ext_proc.service.options import Options

app = typer.Typer(pretty_exceptions_enable=False)

LISTEN = "127.0.0.1:9470"
ADMIN = "127.0.0.1:9464"
"""The port OpenTelemetry's Prometheus exporters use; Envoy's own admin interface is usually at 9901."""
EMBEDDED = "embedded"


@app.command()
def serve(
    context: typer.Context,
    policy: serving.PolicyFile,
    listen: serving.Listen = LISTEN,
    socket_mode: serving.SocketMode = "600",
    workers: serving.Workers = 1,
    store: serving.Store = EMBEDDED,
    admin: serving.Admin = ADMIN,
    admin_tls_cert: serving.AdminTlsCert = "",
    admin_tls_key: serving.AdminTlsKey = "",
    decisions: serving.Decisions = "",
    drain_seconds: serving.DrainSeconds = 300,
    log_level: serving.LogLevel = "info",
    otlp: serving.Otlp = "",
    gateway: serving.GatewayKind = Gateway.ENVOY,
    transport: serving.TransportKind = DEFAULT,
    tls_cert: serving.TlsCert = "",
    tls_key: serving.TlsKey = "",
    tls_client_ca: serving.TlsClientCa = "",
) -> None:
    """Run the service alone, for an Envoy you already have. Ends, drained, on SIGTERM or Ctrl-C; reloads its policy on SIGHUP and
    whenever its files change.
    """
    from headrace.ext_proc.cli import values
    from headrace.ext_proc.service.addresses import parse_address
    from headrace.ext_proc.service.options import Options

    options = Options(
        policy=policy,
        listen=values.parsed("--listen", parse_address, listen),
        store=values.shared_store(store),
        workers=workers,
        admin=None if admin == "off" else values.parsed("--admin", _admin_address, admin),
        decisions=decisions,
        otlp=values.collector(otlp),
        log_level=log_level,
        drain_seconds=drain_seconds,
        socket_mode=values.parsed("--socket-mode", _permissions, socket_mode),
        transport=transport,
        tls=values.tls("--tls", tls_cert, tls_key, tls_client_ca),
        gateway=gateway,
        admin_tls=values.tls("--admin-tls", admin_tls_cert, admin_tls_key),
    )
    if options.tls and options.listen.path is not None:
        raise typer.BadParameter("TLS is for host:port; a Unix socket is as private as its mode", param_hint="--tls-cert")
    values.configure_logs(log_level)
    raise typer.Exit(_run(options, context.obj))


def _permissions(text: str) -> int:
    """Raises ValueError."""
    if len(text) != 3 or not set(text) <= set("01234567"):
        raise ValueError(f"{text!r} is no octal mode of three digits, such as 600 or 660")
    return int(text, 8)


def _admin_address(text: str) -> "Address":
    """Raises ValueError."""
    from headrace.ext_proc.service.addresses import parse_address

    address = parse_address(text)
    if address.path is not None:
        raise ValueError(f"{text!r}: the admin interface listens on host:port, such as {ADMIN}")
    return address


def _run(options: "Options", begun: "ForkServerProcess | None") -> int:
    """The exit status: 0 drained, 1 could not start or was cut short. begun: a fork server that is there already."""
    import logging
    from contextlib import ExitStack, closing
    from dataclasses import replace

    from headrace.ext_proc.service.starting import Starter

    starter = Starter(options.policy, options.gateway, options.transport, begun=begun)
    starter.begin()  # what workers need takes longer to load than what this process does

    import uvloop

    from headrace.ext_proc.core.errors import HeadraceError
    from headrace.ext_proc.engine.imports import UNUSED, absent

    with absent(*UNUSED):
        from headrace.ext_proc.service.run import serve
        from headrace.ext_proc.stores.embedded import EmbeddedStore

    try:
        with ExitStack() as stack:
            stack.enter_context(closing(starter))
            if options.store == EMBEDDED:
                options = replace(options, store=stack.enter_context(EmbeddedStore()))
                logging.getLogger(__name__).warning("the embedded store forgets everything at the end; not for production")
            return uvloop.run(serve(options, starter))
    except (HeadraceError, ValueError) as error:
        typer.echo(error, err=True)
        return 1
