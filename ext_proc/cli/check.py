"""`headrace check`: compile policies and say everything that is wrong with them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.ext_proc.engine.policy.gateways import Gateway

if TYPE_CHECKING:
    from headrace.ext_proc.engine.policy.compile import Policy
    from headrace.ext_proc.engine.policy.problems import PolicyErrors

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def check(
    policies: Annotated[list[Path], typer.Argument(help="Policy files.", metavar="POLICY")],
    gateway: Annotated[
        Gateway, typer.Option(help="Who will call the service; what this gateway cannot carry out is a problem.")
    ] = Gateway.ENVOY,
    strict: Annotated[bool, typer.Option("--strict", help="A remark is a problem, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Compile policies as the service would, with every file they name, and say what is wrong: file, line, what, and what would be
    right; and, as remarks, what they say to no effect. Nothing is started and nothing is sent. Ends with 1 when any policy has a
    problem.
    """
    from headrace.ext_proc.engine.policy.offline import compiled

    outcomes = {path: compiled(path, gateway) for path in policies}
    if as_json:
        typer.echo(json.dumps({"policies": [_document(path, outcome) for path, outcome in outcomes.items()]}, indent=2))
    else:
        for path, outcome in outcomes.items():
            _print(path, outcome)
    raise typer.Exit(any(isinstance(outcome, Exception) or (strict and outcome.remarks) for outcome in outcomes.values()))


def _print(path: Path, outcome: "Policy | PolicyErrors") -> None:
    from headrace.ext_proc.engine.policy.summary import summary

    if isinstance(outcome, Exception):
        typer.echo(outcome, err=True)
        return
    typer.echo(f"{path}: {summary(outcome)}")
    for remark in outcome.remarks:
        typer.echo(f"{remark} (a remark: the policy works)", err=True)


def _document(path: Path, outcome: "Policy | PolicyErrors") -> Mapping[str, Any]:
    from dataclasses import asdict

    from headrace.ext_proc.engine.policy.summary import summary

    if isinstance(outcome, Exception):
        return {"file": str(path), "ok": False, "problems": [asdict(problem) for problem in outcome.problems]}
    told = {"problems": [], "remarks": [asdict(remark) for remark in outcome.remarks]}
    return {"file": str(path), "ok": True, "revision": outcome.revision, "summary": summary(outcome), **told}
