"""`headrace demo`: the whole stack on loopback, with sample traffic."""

from typing import Annotated

import typer

from headrace.ext_proc.envoy.transport import DEFAULT, Transport

app = typer.Typer(pretty_exceptions_enable=False)

PORT = 10000


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the sample traffic instead of staying up for curl.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead; implies --once.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Envoy's port; 0 takes a free one.", envvar="HEADRACE_PORT")] = PORT,
    transport: Annotated[
        Transport,
        typer.Option(help="Who speaks gRPC to Envoy: h2 is Headrace's own, grpcio is Google's.", envvar="HEADRACE_TRANSPORT"),
    ] = DEFAULT,
) -> None:
    """Run a private Valkey, real Envoy, the service and two simulated GPU pools on loopback, send sample traffic through them with
    the OpenAI SDK, and show what every filter did. Ends with status 1 when something did not happen as it should.
    """
    import importlib.util

    if importlib.util.find_spec("openai") is None:
        typer.echo("the demo's application uses the OpenAI SDK: pip install openai", err=True)
        raise typer.Exit(1)
    raise typer.Exit(_run(once or as_json, as_json, port, transport))


def _run(once: bool, as_json: bool, port: int, transport: Transport) -> int:
    import openai
    import uvloop

    from headrace.ext_proc.cli.demo import command
    from headrace.ext_proc.cli.demo.evidence import NoRecordError
    from headrace.ext_proc.core.errors import HeadraceError
    from headrace.ext_proc.engine.policy.problems import PolicyErrors
    from headrace.ext_proc.envoy.process import EnvoyError

    try:
        return uvloop.run(command.run(once, as_json, port, transport))
    except (HeadraceError, EnvoyError, PolicyErrors, NoRecordError, openai.APIConnectionError, OSError) as error:
        typer.echo(error, err=True)
        return 1
