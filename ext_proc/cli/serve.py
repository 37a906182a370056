"""`headrace serve`: the service alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.envoy.transport import DEFAULT, Transport

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
    policy: Annotated[Path, typer.Argument(help="The policy file.", envvar="HEADRACE_POLICY", show_envvar=False)],
    listen: Annotated[
        str,
        typer.Option(
            help="Where the gateway reaches the workers: unix:/path or host:port. With several workers, worker.sock becomes "
            "worker-0.sock, worker-1.sock and so on, and ports follow each other.",
            envvar="HEADRACE_LISTEN",
        ),
    ] = LISTEN,
    socket_mode: Annotated[
        str,
        typer.Option(
            help="Permissions of the workers' sockets, octal. 660 lets in a gateway that runs as another user of the same group.",
            envvar="HEADRACE_SOCKET_MODE",
        ),
    ] = "600",
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Worker processes; one per core is right.", envvar="HEADRACE_WORKERS")
    ] = 1,
    store: Annotated[
        str,
        typer.Option(
            help="Where budgets are kept: redis://, rediss:// or unix:// of a Redis or Valkey server. 'embedded' starts a private "
            "Valkey that forgets everything when the service ends.",
            envvar="HEADRACE_STORE",
        ),
    ] = EMBEDDED,
    admin: Annotated[
        str,
        typer.Option(
            help="Where /healthz, /readyz, /metrics, /policy, the admin API and the console are served: host:port, or off.",
            envvar="HEADRACE_ADMIN",
        ),
    ] = ADMIN,
    admin_tls_cert: Annotated[
        str,
        typer.Option(
            help="Serve --admin over TLS with this certificate chain (PEM). Without it the admin API and the console are served on "
            "loopback only.",
            envvar="HEADRACE_ADMIN_TLS_CERT",
        ),
    ] = "",
    admin_tls_key: Annotated[str, typer.Option(help="The key of --admin-tls-cert (PEM).", envvar="HEADRACE_ADMIN_TLS_KEY")] = "",
    decisions: Annotated[
        str,
        typer.Option(
            help="The decision log: a file for JSON lines, one per decision and settlement; - for standard output.",
            envvar="HEADRACE_DECISIONS",
        ),
    ] = "",
    drain_seconds: Annotated[
        float,
        typer.Option(min=0, help="On SIGTERM, how long open streams may go on.", envvar="HEADRACE_DRAIN_SECONDS"),
    ] = 300,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.", envvar="HEADRACE_LOG_LEVEL")] = "info",
    otlp: Annotated[
        str,
        typer.Option(
            help="Send a trace span per call to this OTLP/HTTP collector, such as http://127.0.0.1:4318.",
            envvar=["HEADRACE_OTLP", "OTEL_EXPORTER_OTLP_ENDPOINT"],
        ),
    ] = "",
    gateway: Annotated[
        Gateway,
        typer.Option(
            help="Who calls the service. A policy that asks for more than this gateway can do is refused.",
            envvar="HEADRACE_GATEWAY",
        ),
    ] = Gateway.ENVOY,
    transport: Annotated[
        Transport,
        typer.Option(help="Who speaks gRPC to the gateway: h2 is Headrace's own, grpcio is Google's.", envvar="HEADRACE_TRANSPORT"),
    ] = DEFAULT,
    tls_cert: Annotated[
        str, typer.Option(help="Serve TLS with this certificate chain (PEM); on host:port only.", envvar="HEADRACE_TLS_CERT")
    ] = "",
    tls_key: Annotated[str, typer.Option(help="The certificate's key (PEM).", envvar="HEADRACE_TLS_KEY")] = "",
    tls_client_ca: Annotated[
        str,
        typer.Option(help="Take connections only with a certificate of these authorities (PEM).", envvar="HEADRACE_TLS_CLIENT_CA"),
    ] = "",
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
