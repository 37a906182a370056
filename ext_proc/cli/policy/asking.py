"""The five questions of `headrace policy init`."""

from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import cast, get_args

import typer

from headrace.ext_proc.cli.policy.writing import PII_WORDS, Answers, Identity, Pii

SERVERS = "Model servers, as NAME=URL; a second one, for large prompts, after a blank"
CALLERS = "Who says who calls: headers (set by your gateway) or keys (ours)"
USUAL = "standard=http://127.0.0.1:9001"


def answers(upstreams: Sequence[str] | None, model: str | None, identity: str | None, usd: str | None, pii: str | None) -> Answers:
    """What was given, and what is asked for the rest. Raises typer.BadParameter."""
    servers = _servers(upstreams or _ask(SERVERS, USUAL).split())
    name = model or _ask("Model that applications ask for", "llama-3.3-70b")
    who = _one_of(identity or _ask(CALLERS, "headers"), get_args(Identity), "--identity")
    money = _money(usd or _ask("Each team's month in USD; 0 for no budget", "500"))
    if pii is None:
        typer.echo("Personal data in requests:")
        for word, meaning in PII_WORDS.items():
            typer.echo(f"  {word}: {meaning}")
    data = _one_of(pii or _ask("What becomes of it", "replace"), get_args(Pii), "--pii")
    return Answers(servers, name, _is_priced(name), cast(Identity, who), money, cast(Pii, data))


def write(path: Path, text: str) -> None:
    """Raises typer.BadParameter where it cannot."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise typer.BadParameter(f"cannot write {path}: {error.strerror}") from None


def _ask(question: str, usual: str) -> str:
    return str(typer.prompt(question, default=usual))


def _servers(given: Sequence[str]) -> Mapping[str, str]:
    pairs = [one.partition("=") for one in given]
    if wrong := [one for one, (name, equals, url) in zip(given, pairs, strict=True) if not (name and equals and url)]:
        raise typer.BadParameter(f"{wrong[0]!r} is not like {USUAL}", param_hint="--upstream")
    found = {name: url for name, _, url in pairs}
    _check(found)
    return found


def _check(servers: Mapping[str, str]) -> None:
    """Raises typer.BadParameter for a name or a URL that the policy could not have."""
    from headrace.ext_proc.engine.policy.models import PolicyDocument
    from headrace.ext_proc.engine.policy.problems import Where, spelled
    from headrace.ext_proc.engine.policy.validation import validated

    def problem(where: Where, message: str) -> None:
        raise typer.BadParameter(f"{spelled(where)}: {message}", param_hint="--upstream")

    validated(PolicyDocument, {"version": 1, "upstreams": {name: {"url": url} for name, url in servers.items()}}, problem)


def _one_of(given: str, words: Sequence[str], option: str) -> str:
    if given not in words:
        raise typer.BadParameter(f"{given!r} is none of {', '.join(words)}", param_hint=option)
    return given


def _money(given: str) -> str:
    """Empty for 0."""
    try:
        amount = Decimal(given)
    except InvalidOperation:
        amount = Decimal(-1)
    if not amount.is_finite() or amount < 0:
        raise typer.BadParameter(f"{given!r} is no amount in USD, such as 500", param_hint="--usd")
    return f"{amount:f}" if amount else ""


def _is_priced(model: str) -> bool:
    from headrace.ext_proc.engine.policy.models import Model
    from headrace.ext_proc.engine.prices import Prices

    entry = Model.model_validate({"name": model})
    return Prices((entry,)).of(entry, model) is not None
