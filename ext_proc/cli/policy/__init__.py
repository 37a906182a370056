"""`headrace policy`: a first policy, the format, what differs between two, what a candidate would do otherwise."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def policy() -> None:
    """A first policy, the format's JSON Schema, what differs between two, what a candidate would do otherwise."""


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


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(help="The policy as it is.", metavar="OLD")],
    new: Annotated[Path, typer.Argument(help="The policy as it would be.", metavar="NEW")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with 1 where they differ.")] = False,
) -> None:
    """Say in words what differs between two policies, and what follows from it. Defaults that are written out, comments and order
    that has no meaning are no differences. Ends with 2 when one of them has a problem.
    """
    from msgspec import to_builtins

    from headrace.ext_proc.engine.policy.differences import differences
    from headrace.ext_proc.engine.policy.offline import compiled

    before, after = compiled(old), compiled(new)
    if isinstance(before, Exception) or isinstance(after, Exception):
        typer.echo("\n".join(str(one) for one in (before, after) if isinstance(one, Exception)), err=True)
        raise typer.Exit(2)
    found = differences(before, after)
    if as_json:
        typer.echo(json.dumps({"differences": to_builtins(found)}, indent=2))
    else:
        typer.echo("\n".join(map(str, found)) or "they do the same")
    raise typer.Exit(exit_code and bool(found))


@app.command()
def init(
    file: Annotated[Path, typer.Argument(help="The policy; its cases go beside it.", metavar="FILE")] = Path("policy.yaml"),
    upstream: Annotated[
        list[str] | None, typer.Option(help="NAME=URL of a model server; a second one is for large prompts.", metavar="NAME=URL")
    ] = None,
    model: Annotated[str | None, typer.Option(help="What applications ask for.")] = None,
    identity: Annotated[str | None, typer.Option(help="Who says who calls: headers (your gateway) or keys (ours).")] = None,
    usd: Annotated[str | None, typer.Option(help="Each team's month in USD; 0 for no budget.")] = None,
    pii: Annotated[str | None, typer.Option(help="What becomes of personal data: replace, block, report or none.")] = None,
) -> None:
    """Ask five questions, and write a commented policy with cases that test it, and the JSON Schema by which editors complete it.
    What an option says is not asked. Nothing that is there is written over.
    """
    from headrace.ext_proc.cli.policy import asking, writing

    given = asking.answers(upstream, model, identity, usd, pii)
    beside, schema_file = file.with_name(f"{file.stem}.test.yaml"), file.with_name(writing.SCHEMA)
    if there := [path for path in (file, beside) if path.exists()]:
        raise typer.BadParameter(f"{there[0]} is there already")
    texts = {file: writing.policy(given), beside: writing.cases(given)}
    if not schema_file.exists():
        texts[schema_file] = schema_text()
    for path, text in texts.items():
        asking.write(path, text)
    *first, last = map(str, texts)
    keys = f"headrace keys create --team TEAM --file {file.with_name('keys.yaml')}, then " if given.identity == "keys" else ""
    typer.echo(f"wrote {', '.join(first)} and {last}\nnext: {keys}headrace check {file}, then headrace test {beside}")


@app.command()
def compare(
    decisions: Annotated[Path, typer.Argument(help="The decision log of a service whose policy has a candidate.", metavar="LOG")],
    examples: Annotated[int, typer.Option(help="Exchanges named for each change.", min=0, max=100)] = 3,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Say what the candidate would have done otherwise, by the decision log: each change with how often, for whom, and in which
    exchanges. The latest candidate in the log counts.
    """
    from headrace.ext_proc.cli.files import cannot_read
    from headrace.ext_proc.cli.policy.comparing import document, told
    from headrace.ext_proc.engine.comparing import read

    try:
        found = read(decisions, examples)
    except OSError as error:
        typer.echo(cannot_read(error), err=True)
        raise typer.Exit(1) from None
    if found is None:
        typer.echo(f"{decisions}: no record of a candidate; give the decision log of a service whose policy names one", err=True)
        raise typer.Exit(1)
    typer.echo(json.dumps(document(found), indent=2) if as_json else "\n".join(told(found)))
