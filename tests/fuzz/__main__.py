"""`python -m tests.fuzz`: mutated requests through real Envoy; the figures go to build/fuzz.json. Exit status 1 on a finding."""

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tests.fuzz.driver import BATCH, Report, books, run, stage
from tests.fuzz.judge import Finding


def main(
    requests: Annotated[int, typer.Option(help="cases; a pipelined one is several requests")] = 100_000,
    seed: Annotated[str, typer.Option(help="of an earlier run, to repeat it")] = "",
    only: Annotated[int, typer.Option(help="this case alone")] = -1,
    out: Annotated[Path, typer.Option(help="where the figures go")] = Path("build/fuzz.json"),
) -> None:
    seed = seed or secrets.token_hex(4)
    typer.echo(f"seed {seed}")
    began = time.monotonic()
    report = asyncio.run(fuzz(seed, range(only, only + 1) if only >= 0 else range(requests)))
    document = {
        "seed": seed,
        "requests": report.requests,
        "seconds": round(time.monotonic() - began),
        "calls": report.calls,
        "settlements": report.settled,
        "left_as_reserved": report.left,
        "outcomes": dict(report.outcomes.most_common()),
        "changes": dict(report.changes.most_common()),
        "findings": dict(Counter(finding.kind for finding in report.findings)),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n")
    typer.echo(json.dumps(document, indent=1))
    raise typer.Exit(1 if report.findings else 0)


async def fuzz(seed: str, numbers: range) -> Report:
    report = Report()
    async with stage(seed) as running:
        for start in range(0, len(numbers), BATCH):
            told = len(report.findings)
            await run(running, numbers[start : start + BATCH], report)
            _tell(report.findings[told:])
        told = len(report.findings)
        await books(running, report)
        _tell(report.findings[told:])
    return report


def _tell(findings: Sequence[Finding]) -> None:
    for finding in findings:
        typer.echo(f"{finding.kind}: case {finding.number}: {finding.detail}", err=True)


if __name__ == "__main__":
    command = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    command.command()(main)
    command()
