"""The options of `headrace serve`: their types, and their words for `--help`."""

from pathlib import Path
from typing import Annotated

import typer

from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.envoy.transport import Transport

PolicyFile = Annotated[Path, typer.Argument(help="The policy file.", envvar="HEADRACE_POLICY", show_envvar=False)]
Listen = Annotated[
    str,
    typer.Option(
        help="Where the gateway reaches the workers: unix:/path or host:port. With several workers, worker.sock becomes "
        "worker-0.sock, worker-1.sock and so on, and ports follow each other.",
        envvar="HEADRACE_LISTEN",
    ),
]
SocketMode = Annotated[
    str,
    typer.Option(
        help="Permissions of the workers' sockets, octal. 660 lets in a gateway that runs as another user of the same group.",
        envvar="HEADRACE_SOCKET_MODE",
    ),
]
Workers = Annotated[int, typer.Option(min=1, max=256, help="Worker processes; one per core is right.", envvar="HEADRACE_WORKERS")]
Store = Annotated[
    str,
    typer.Option(
        help="Where budgets are kept: redis://, rediss:// or unix:// of a Redis or Valkey server, redis+cluster:// of a cluster, "
        "redis+sentinel:// of Sentinels. 'embedded' starts a private Valkey that forgets everything when the service ends.",
        envvar="HEADRACE_STORE",
    ),
]
Admin = Annotated[
    str,
    typer.Option(
        help="Where /healthz, /readyz, /metrics, /policy, the admin API and the console are served: host:port, or off.",
        envvar="HEADRACE_ADMIN",
    ),
]
AdminTlsCert = Annotated[
    str,
    typer.Option(
        help="Serve --admin over TLS with this certificate chain (PEM). Without it the admin API and the console are served on "
        "loopback only.",
        envvar="HEADRACE_ADMIN_TLS_CERT",
    ),
]
AdminTlsKey = Annotated[str, typer.Option(help="The key of --admin-tls-cert (PEM).", envvar="HEADRACE_ADMIN_TLS_KEY")]
Decisions = Annotated[
    str,
    typer.Option(
        help="The decision log: a file for JSON lines, one per decision and settlement; - for standard output.",
        envvar="HEADRACE_DECISIONS",
    ),
]
DrainSeconds = Annotated[
    float,
    typer.Option(min=0, help="On SIGTERM, how long open streams may go on.", envvar="HEADRACE_DRAIN_SECONDS"),
]
LogLevel = Annotated[str, typer.Option(help="debug, info, warning or error.", envvar="HEADRACE_LOG_LEVEL")]
Otlp = Annotated[
    str,
    typer.Option(
        help="Send a trace span per call to this OTLP/HTTP collector, such as http://127.0.0.1:4318.",
        envvar=["HEADRACE_OTLP", "OTEL_EXPORTER_OTLP_ENDPOINT"],
    ),
]
GatewayKind = Annotated[
    Gateway,
    typer.Option(
        help="Who calls the service. A policy that asks for more than this gateway can do is refused.",
        envvar="HEADRACE_GATEWAY",
    ),
]
TransportKind = Annotated[
    Transport,
    typer.Option(help="Who speaks gRPC to the gateway: h2 is Headrace's own, grpcio is Google's.", envvar="HEADRACE_TRANSPORT"),
]
TlsCert = Annotated[
    str, typer.Option(help="Serve TLS with this certificate chain (PEM); on host:port only.", envvar="HEADRACE_TLS_CERT")
]
TlsKey = Annotated[str, typer.Option(help="The certificate's key (PEM).", envvar="HEADRACE_TLS_KEY")]
TlsClientCa = Annotated[
    str,
    typer.Option(help="Take connections only with a certificate of these authorities (PEM).", envvar="HEADRACE_TLS_CLIENT_CA"),
]
