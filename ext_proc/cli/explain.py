"""`headrace explain`: what each filter would do with a request, and why. The chain is the service's; nothing is sent."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.ext_proc.engine.policy.gateways import Gateway

if TYPE_CHECKING:
    from headrace.ext_proc.core.principal import Principal

app = typer.Typer(pretty_exceptions_enable=False)

Pair = tuple[str, str]


def pair_of(header: str) -> Pair:
    """`name: value`. Raises typer.BadParameter."""
    name, colon, value = header.partition(":")
    if not colon or not name.strip():
        raise typer.BadParameter(f"{header!r} is not 'name: value'", param_hint="--header")
    return name.strip().lower(), value.strip()


def principal_of(text: str) -> "Principal":
    """`team=research,user=ann`. Raises typer.BadParameter."""
    from headrace.ext_proc.core.principal import LEVELS, Principal, is_part

    members = dict(part.partition("=")[::2] for part in text.split(","))
    for name, value in members.items():
        if name not in LEVELS or not is_part(value):
            said = f"{text!r} is not like team=research,user=ann; there are {', '.join(LEVELS)}"
            raise typer.BadParameter(said, param_hint="--as")
    return Principal(**members)


@app.command()
def explain(
    policy: Annotated[Path, typer.Argument(help="The policy file.")],
    request: Annotated[
        Path | None,
        typer.Option("--request", help="The request's JSON body; - for standard input. POST needs one.", metavar="FILE"),
    ] = None,
    method: Annotated[str, typer.Option(help="The request's method, such as GET.")] = "POST",
    path: Annotated[str, typer.Option(help="The request's path, which names the API.")] = "/v1/chat/completions",
    header: Annotated[
        list[str] | None, typer.Option("--header", "-H", help="A header, such as 'x-team: research'. May repeat.", metavar="'K: V'")
    ] = None,
    caller: Annotated[
        str | None, typer.Option("--as", help="Who asks, in place of the identity filter: team=research,user=ann.")
    ] = None,
    gateway: Annotated[
        Gateway, typer.Option(help="Who will call the service; a policy that this gateway cannot carry out is not followed.")
    ] = Gateway.ENVOY,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run a request through a policy's filters and say what each decides: who asks, what is found, counted and reserved, which
    pools hold it and which one is chosen. Budgets are empty, keys in a store are not looked up, and nothing is sent.
    """
    from headrace.ext_proc.engine.explaining import explained
    from headrace.ext_proc.engine.policy.offline import compiled
    from headrace.ext_proc.engine.trial import Asked
    from headrace.ext_proc.stores.memory import MemoryStore

    if request is None and method == "POST":
        raise typer.BadParameter("a POST has a body: name its file, or - for standard input", param_hint="--request")
    if not path.startswith("/"):
        raise typer.BadParameter(f"{path!r} is no path such as /v1/chat/completions", param_hint="--path")
    pairs = [pair_of(one) for one in header or ()]
    who = principal_of(caller) if caller else None
    asked = Asked(_read(request) if request is not None else b"", method, path, pairs)
    store = MemoryStore()
    outcome = compiled(policy, gateway, store)
    if isinstance(outcome, Exception):
        typer.echo(outcome, err=True)
        raise typer.Exit(1)
    document = asyncio.run(explained(outcome, store, asked, who))
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False) if as_json else "\n".join(told(document)))


def _read(path: Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return path.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"cannot read {path}: {error.strerror}", param_hint="--request") from None


def told(document: Mapping[str, Any]) -> Sequence[str]:
    """The document for people."""
    from headrace.ext_proc.telemetry import phrases

    said = [one for one in document["filters"] if one.get("note") or one["reason"]]
    lines = [f"{one['filter']:<10} {phrases.step(_without_candidates(one))}" for one in said]
    lines += [f"{'':<10} {phrases.place(one)}: {one['why']}" for one in document["routing"]["candidates"]]
    if "refused" in document:
        refused = document["refused"]
        return [*lines, f"{'refused':<10} {refused['status']} {refused['code']}: {refused['body']['error']['message']}"]
    if not document.get("endpoint"):
        return [*lines, f"{'sent':<10} as it is: no filter knows the API of this path (other_paths lets it pass)"]
    changed = "" if document["sent"]["body"] == "unchanged" else ", its body rewritten"
    return [*lines, f"{'sent':<10} to {document['routing']['chosen'] or 'the upstream of its route'}{changed}"]


def _without_candidates(step: Mapping[str, Any]) -> Mapping[str, Any]:
    """They have lines of their own."""
    note = step.get("note", {})
    return {**step, "note": {**note, "candidates": []}} if "candidates" in note else step
