"""The table of commands, and a group that imports a command's module only when that command is called."""

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Annotated, Any

import typer
import typer.core
import typer.main

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("demo", "The whole stack on loopback with sample traffic: see what every filter does."),
    "up": ("up", "The whole stack in front of the upstreams a policy names."),
    "serve": ("serve", "The service alone, for a gateway you already run."),
    "check": ("check", "Compile policies and say what is wrong with them."),
    "explain": ("explain", "What each filter would do with a request, and why; nothing is sent."),
    "test": ("test", "Run a policy's own test cases."),
    "replay": ("replay", "Recorded requests through two policies: what would change."),
    "policy": ("policy", "A first policy; what differs between two; the format's JSON Schema."),
    "route": ("route", "What routing by prompt size is worth: servers that a trace needs."),
    "envoy": ("envoy", "Envoy's configuration: write one, patch one, check one."),
    "apisix": ("apisix", "APISIX's configuration: write one, check one."),
    "keys": ("keys", "Create, list, rotate and revoke API keys."),
    "pii": ("pii", "Try what a policy finds in samples of your own."),
    "usage": ("usage", "What was used and what it cost: reports and exports of the ledger, and invoices compared with it."),
    "audit": ("audit", "The audit log: verified, shown, exported, erased."),
    "admin": ("admin", "Tokens of the admin API, and the audit trail."),
    "metrics": ("metrics", "What there is to watch: metrics, a Grafana dashboard, alert rules."),
    "budget": ("budget", "Show, set and raise budgets."),
}
"""Name → module in this package, which has a Typer named `app`, and the line `--help` shows. Listed where the module exists."""

PACKAGE = "headrace.ext_proc.cli"


class LazyGroup(typer.core.TyperGroup):
    """Help is written from the table; a module is imported when its command is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: _stand_in(name) for name, (module, _) in COMMANDS.items() if _exists(module)}

    def list_commands(self, ctx: Any) -> list[str]:
        """In the order of the table, not of the alphabet."""
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The real command; asked for when a command line names it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and load(str(name)), rest


def _stand_in(name: str) -> typer.core.TyperCommand:
    """Has a name and a help line, for `--help` and for suggestions."""
    return typer.core.TyperCommand(name, help=COMMANDS[name][1])


def _exists(module: str) -> bool:
    return importlib.util.find_spec(f"{PACKAGE}.{module}") is not None


def load(name: str) -> Any:
    """The command `name`, its module imported."""
    module = importlib.import_module(f"{PACKAGE}.{COMMANDS[name][0]}")
    command = typer.main.get_command(module.app)
    command.name = name
    command.params = [param for param in command.params if param.name not in ("install_completion", "show_completion")]
    return command


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"headrace {version('headrace')}")
        raise typer.Exit


def application() -> Any:
    """The command line as a callable."""
    app = typer.Typer(cls=LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

    @app.callback()
    def headrace(
        version: Annotated[
            bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
        ] = False,
    ) -> None:
        """LLM governance for the API gateway you already run."""

    return typer.main.get_command(app)
