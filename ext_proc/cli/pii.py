"""`headrace pii`: what a policy finds in samples."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.filters.pii.memo import MemoDetector
    from headrace.filters.pii.plan import Plan
    from headrace.filters.pii.settings import PiiSettings
    from headrace.filters.pii.spans import Span

app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True)


@app.callback()
def pii() -> None:
    """Try what a policy finds in samples of your own."""


@app.command()
def scan(
    file: Annotated[str, typer.Argument(help="Text, .json or .jsonl; - for standard input.", metavar="FILE|-")],
    policy: Annotated[Path | None, typer.Option(help="The policy whose pii filter is tried, else its defaults.")] = None,
    model: Annotated[str | None, typer.Option(help="Other models than the policy's: none, rampart, rampart,spacy:NAME.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help='JSON lines in, {"text": …}; JSON lines out, {"spans": […]}.')] = False,
) -> None:
    """Print what is found in FILE, marked where it stands; nothing is sent anywhere.

    Ends with 1 when the policy has a problem or a line cannot be read.
    """
    from headrace.ext_proc.cli.files import FileError
    from headrace.ext_proc.engine.policy.problems import PolicyErrors
    from headrace.filters.pii.models.pool import ModelUnusable
    from headrace.filters.pii.samples import BadLine, detector_of

    try:
        plan = _plan(policy, model)
        detector = detector_of(plan)
        _print_json(detector, file) if as_json else _print_text(detector, file, plan)
    except (FileError, PolicyErrors, BadLine, ModelUnusable) as error:
        typer.echo(error, err=True)
        raise typer.Exit(1) from None


def _plan(path: Path | None, model: str | None) -> "Plan":
    """Raises PolicyErrors."""
    from headrace.filters.pii.samples import planned

    settings, base = _settings(path)
    if model is not None:
        settings = settings.model_copy(update={"model": tuple(model.split(",")) if "," in model else model})
    return planned(settings, base, str(path) if path is not None and model is None else "--model")


def _settings(path: Path | None) -> "tuple[PiiSettings, Path]":
    """Raises PolicyErrors."""
    from headrace.ext_proc.engine.policy.offline import compiled
    from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem
    from headrace.filters.pii import PiiFilter, PiiSettings

    if path is None:
        return PiiSettings.model_validate({}), Path()
    policy = compiled(path)
    if isinstance(policy, PolicyErrors):
        raise policy
    found = next((each for each in policy.filters if isinstance(each, PiiFilter)), None)
    if found is None:
        raise PolicyErrors([Problem(str(path), 0, "filters", "there is no pii filter; add '- pii: {}'")])
    return found.settings, path.parent


def _content(file: str) -> str:
    """Raises FileError. Bytes that are no UTF-8 become replacement characters."""
    from headrace.ext_proc.cli.files import read_bytes

    data = sys.stdin.buffer.read() if file == "-" else read_bytes(Path(file))
    return data.decode("utf-8", "replace")


def _print_json(detector: "MemoDetector", file: str) -> None:
    from headrace.filters.pii.samples import as_json, searched, text_of

    lines = _content(file).split("\n")
    numbered = enumerate(lines[: -1 if not lines[-1] else None], 1)
    for spans in searched(detector, (text_of(line, f"{file}:{number}") for number, line in numbered)):
        typer.echo(as_json(spans))


def _print_text(detector: "MemoDetector", file: str, plan: "Plan") -> None:
    from rich.console import Console

    from headrace.filters.pii.samples import samples
    from headrace.filters.pii.spans import disjoint

    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    counts: Counter[str] = Counter({each.entity: 0 for each in plan.recognizers})  # of the policy's own, none is news, too
    for sample in samples(detector, _content(file), file):
        spans = disjoint(sample.spans)
        counts.update(span.entity for span in spans)
        if spans or not sample.place:
            console.print(_place(sample.place), _marked(sample.text, spans, coloured=console.is_terminal), sep="", end="")
            if not sample.text.endswith("\n"):
                console.print()
    typer.echo(_summary(counts, plan), err=True)


def _place(place: str) -> str:
    return f"{place}: " if place else ""


def _marked(text: str, spans: "list[Span]", *, coloured: bool) -> object:
    """Findings in colour, or in brackets with their entity where there are no colours."""
    from rich.text import Text

    marked, done = Text(), 0
    for span in spans:
        marked.append(text[done : span.start])
        value = text[span.start : span.end]
        marked.append(f" {span.entity} {value} " if coloured else f"[{span.entity} {value}]", "reverse" if coloured else "")
        done = span.end
    return marked.append(text[done:])


def _summary(counts: "Counter[str]", plan: "Plan") -> str:
    found = ", ".join(f"{entity} {count}" for entity, count in sorted(counts.items())) or "nothing"
    return f"found: {found}; model {' and '.join(model.name for model in plan.models) or 'none'}"
