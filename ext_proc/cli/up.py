"""`headrace up`: the whole stack in front of the upstreams a policy names."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.ext_proc.envoy.transport import DEFAULT, Transport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headrace.ext_proc.engine.policy.models import PolicyDocument
    from headrace.ext_proc.service.control import PolicyState
    from headrace.ext_proc.service.stack import Stack, StackOptions
    from headrace.ext_proc.service.supervisor import Service

LOOK_S = 0.2
"""Seconds between two looks at what the workers have in force."""

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def up(
    policy: Annotated[Path, typer.Argument(help="The policy file; its upstreams are where requests go.")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="Envoy's port; 0 takes a free one.", envvar="HEADRACE_PORT")] = 10000,
    host: Annotated[str, typer.Option(help="The address Envoy listens on.", envvar="HEADRACE_HOST")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, max=256, help="Worker processes.", envvar="HEADRACE_WORKERS")] = 1,
    store: Annotated[
        str,
        typer.Option(
            help="Where budgets are kept: a URL, as for `headrace serve`; 'embedded' starts a private Valkey.",
            envvar="HEADRACE_STORE",
        ),
    ] = "embedded",
    decisions: Annotated[
        str, typer.Option(help="The decision log: a file, or - for standard output.", envvar="HEADRACE_DECISIONS")
    ] = "",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.", envvar="HEADRACE_LOG_LEVEL")] = "warning",
    otlp: Annotated[
        str,
        typer.Option(
            help="Send a trace span per call to this OTLP/HTTP collector.", envvar=["HEADRACE_OTLP", "OTEL_EXPORTER_OTLP_ENDPOINT"]
        ),
    ] = "",
    transport: Annotated[
        Transport,
        typer.Option(help="Who speaks gRPC to Envoy: h2 is Headrace's own, grpcio is Google's.", envvar="HEADRACE_TRANSPORT"),
    ] = DEFAULT,
) -> None:
    """Run a store, the service and a real Envoy in front of the policy's upstreams. Ctrl-C ends it all, and leaves nothing."""
    from headrace.ext_proc.cli import values

    try:
        from headrace.ext_proc.service.stack import StackOptions
    except ModuleNotFoundError as error:
        typer.echo(f"{error.name} is not installed: pip install '.[stack]' in a checkout of Headrace", err=True)
        raise typer.Exit(1) from None
    values.configure_logs(log_level)
    options = StackOptions(
        host=host,
        port=port,
        workers=workers,
        store=values.shared_store(store),
        decisions=decisions or None,
        log_level=log_level,
        otlp=values.collector(otlp),
        transport=transport,
    )
    raise typer.Exit(_run(policy, options))


def _run(policy: Path, options: "StackOptions") -> int:
    import uvloop

    from headrace.ext_proc.core.errors import HeadraceError

    try:
        return uvloop.run(_stay(policy, options))
    except (HeadraceError, ValueError) as error:
        typer.echo(error, err=True)
        return 1


async def _stay(policy: Path, options: "StackOptions") -> int:
    """Until a signal comes, or Envoy ends by itself."""
    import asyncio
    import signal

    from headrace.ext_proc.service.stack import Stack

    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with Stack(policy, options) as stack:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stack.service.reload)
        typer.echo(_greeting(stack))
        telling = asyncio.create_task(_tell_policies(stack.service))
        waits = [asyncio.create_task(stopped.wait()), asyncio.create_task(stack.envoy.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in (telling, *waits):
            task.cancel()
    if stopped.is_set():
        return 0
    typer.echo("Envoy ended by itself", err=True)
    return 1


async def _tell_policies(service: "Service") -> None:
    """Says which policy is in force when that has changed, and what is wrong with one that was refused."""
    import asyncio

    told = _policies(service)
    while True:
        await asyncio.sleep(LOOK_S)
        now = _policies(service)
        if now == told or not all(now):
            continue
        told = now
        problems = sorted({problem for state in now if state for problem in state.problems})
        typer.echo("\n".join(problems), err=True, nl=bool(problems))
        revisions = ", ".join(sorted({state.revision for state in now if state}))
        typer.echo(f"policy     {revisions} {'stays' if problems else 'is'} in force")


def _policies(service: "Service") -> "Sequence[PolicyState | None]":
    return [slot.policy for slot in service.slots]


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _shown_by(document: "PolicyDocument") -> str:
    """What a caller must show, as options of curl: by the first source, which is asked first."""
    from headrace.ext_proc.engine.policy.models import HeadersSource

    match document.identity:
        case []:
            return ""
        case [HeadersSource(headers=headers), *_]:
            return "".join(f"-H '{name}: {part.upper()}' " for part, name in headers.items())
        case _:
            return "-H 'authorization: Bearer KEY' "


def _asked_for(document: "PolicyDocument") -> str:
    """A model that a caller may name: a glob is no name."""
    from headrace.ext_proc.engine.policy.catalogue import is_glob

    return next((model.name for model in document.models if not is_glob(model.name)), "MODEL")


def _greeting(stack: "Stack") -> str:
    return f"""Envoy      {stack.url}
service    {", ".join(stack.service.addresses)}
admin      {stack.admin_url}/metrics /readyz /policy /console
store      {_without_password(stack.store_url)}
decisions  {stack.decisions_path}

curl {stack.url}/v1/chat/completions -H 'content-type: application/json' {_shown_by(stack.document)}\\
  -d '{{"model": "{_asked_for(stack.document)}", "messages": [{{"role": "user", "content": "Hello"}}]}}'

Ctrl-C ends everything."""
