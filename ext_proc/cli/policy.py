"""`headrace policy`: the policy format."""

import json

import typer

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def policy() -> None:
    """The policy format."""


@app.command()
def schema() -> None:
    """Print the JSON Schema of a policy, with the settings of every filter that is installed here.

    Editors that know YAML check and complete a policy with it, given this line at its top:
    # yaml-language-server: $schema=policy.schema.json
    """
    typer.echo(schema_text(), nl=False)


def schema_text() -> str:
    """The schema as the tracked file has it."""
    from headrace.ext_proc.engine.policy.schema import policy_schema
    from headrace.ext_proc.engine.registry import Registry, settings_by_name

    return json.dumps(policy_schema(settings_by_name(Registry.installed())), indent=2) + "\n"
