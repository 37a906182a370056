"""`headrace test`: a policy's own cases, played in this process."""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from headrace.ext_proc.cli.test.running import FileResult

app = typer.Typer(pretty_exceptions_enable=False)


@app.command()
def test(
    paths: Annotated[list[Path], typer.Argument(help="Files named *.test.yaml, or folders with some.", metavar="DIR|FILE")],
    trace: Annotated[bool, typer.Option("--trace", help="Show what each filter said, for cases that pass, too.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="A rule that no case reached is a failure, too.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML, for CI.", metavar="FILE")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Play the cases that stand beside a policy, and say which are not as expected, and which rules no case reached. Nothing is
    started and nothing is sent. Ends with 1 when a case fails or a file cannot be used.
    """
    from headrace.ext_proc.cli.test import reports

    results = asyncio.run(_results(paths))
    typer.echo(json.dumps(reports.document(results), indent=2) if as_json else "\n".join(reports.lines(results, trace=trace)))
    if junit is not None:
        _write(junit, reports.junit(results))
    left = strict and any(map(reports.rules_left, results))
    raise typer.Exit(left or not all(result.passed for result in results))


async def _results(paths: list[Path]) -> "list[FileResult]":
    """Raises typer.BadParameter where there is nothing to play."""
    from headrace.ext_proc.cli.test.format import SUFFIX, found_in
    from headrace.ext_proc.cli.test.running import run

    if missing := [path for path in paths if not path.exists()]:
        raise typer.BadParameter(f"there is no {missing[0]}")
    files = found_in(paths)
    if not files:
        raise typer.BadParameter(f"no file in {', '.join(map(str, paths))} is named *{SUFFIX}")
    return [await run(file) for file in files]


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise typer.BadParameter(f"cannot write {path}: {error.strerror}", param_hint="--junit") from None
