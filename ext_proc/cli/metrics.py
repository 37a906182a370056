"""`headrace metrics`: what there is to watch, and how."""

import json
import sys

import typer

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def metrics() -> None:
    """What there is to watch: the metrics, a Grafana dashboard, Prometheus alert rules."""


@app.command("list")
def list_() -> None:
    """Print every metric with its kind, its labels and its meaning."""
    from headrace.ext_proc.telemetry.metrics import FAMILIES

    for family in FAMILIES:
        name = f"{family.name}_total" if family.kind == "counter" else family.name
        labels = f"{{{', '.join(family.labels)}}}" if family.labels else ""
        typer.echo(f"{name}{labels}\n    {family.kind}. {family.help}")


@app.command()
def dashboard() -> None:
    """Print a dashboard for Grafana to import."""
    from headrace.ext_proc.telemetry.dashboard import dashboard

    typer.echo(json.dumps(dashboard(), indent=2))


@app.command()
def alerts() -> None:
    """Print alert rules, a file for Prometheus's rule_files."""
    from ruamel.yaml import YAML

    from headrace.ext_proc.telemetry.alert_rules import alert_rules

    yaml = YAML()
    yaml.width = 1000
    yaml.dump(alert_rules(), sys.stdout)
