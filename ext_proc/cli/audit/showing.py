"""Records on the screen, and records written elsewhere."""

import sys
from collections.abc import Iterator
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.ext_proc.cli.audit.asking import (
    Bodies,
    End,
    Exchange,
    KeyFile,
    Kind,
    Log,
    OutcomeOption,
    Principal,
    Reason,
    Start,
    or_end,
    wanted,
)

if TYPE_CHECKING:
    from headrace.ext_proc.audit.opening import Opened
    from headrace.ext_proc.audit.reading import Entry, Wanted


class Form(Enum):
    JSONL = "jsonl"
    PARQUET = "parquet"
    OTLP = "otlp"


def show(
    log: Log,
    start: Start = None,
    end: End = None,
    exchange: Exchange = "",
    principal: Principal = None,
    kind: Kind = None,
    outcome: OutcomeOption = "",
    reason: Reason = "",
    sent: Annotated[
        Path | None, typer.Option(help="Whose hashed request is this file's content, byte for byte.", metavar="FILE")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The latest so many.")] = 50,
    bodies: Bodies = False,
    master_key: KeyFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document a line, with everything.")] = False,
) -> None:
    """Show records, the latest first; of one exchange all, in their order."""
    from headrace.ext_proc.audit.documents import document
    from headrace.ext_proc.audit.export import jsonl
    from headrace.ext_proc.audit.opening import opened

    looked_for = wanted(start, end, exchange, principal, kind, outcome, reason)
    found = or_end(lambda: opened(log, master_key))
    shown = or_end(lambda: list(islice(_entries(found, looked_for, sent, newest_first=not exchange), limit)))
    documents = or_end(lambda: [document(entry, found, bodies=bodies) for entry in shown])
    if as_json:
        jsonl(documents, sys.stdout.buffer)
        return
    for said in documents:
        for line in _lines(said, steps=bool(exchange)):
            typer.echo(line)


def export(
    log: Log,
    out: Annotated[
        str, typer.Argument(help="The file to write, - for standard output; of otlp the collector's URL.", metavar="OUT")
    ],
    form: Annotated[Form, typer.Option("--format", help="How; parquet needs the extra `reports`.")] = Form.JSONL,
    start: Start = None,
    end: End = None,
    exchange: Exchange = "",
    principal: Principal = None,
    kind: Kind = None,
    outcome: OutcomeOption = "",
    reason: Reason = "",
    bodies: Bodies = False,
    master_key: KeyFile = None,
) -> None:
    """Write records elsewhere, the oldest first: JSON lines, a Parquet file, or to a collector of OTLP logs."""
    from headrace.ext_proc.audit.documents import document
    from headrace.ext_proc.audit.opening import opened

    looked_for = wanted(start, end, exchange, principal, kind, outcome, reason)
    found = or_end(lambda: opened(log, master_key))
    documents = (document(entry, found, bodies=bodies) for entry in _entries(found, looked_for))
    try:
        count = or_end(lambda: _exported(documents, out, form))
    except ImportError:
        typer.echo("writing Parquet needs pyarrow: pip install '.[reports]' in a checkout of Headrace", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"{out}: {count} records", err=True)


def _exported(documents: "Iterator[dict[str, Any]]", out: str, form: Form) -> int:
    from headrace.ext_proc.audit import export as exporting

    match form:
        case Form.PARQUET:
            return exporting.parquet(documents, Path(out))
        case Form.OTLP:
            return exporting.otlp(documents, out)
        case Form.JSONL if out == "-":
            return exporting.jsonl(documents, sys.stdout.buffer)
        case Form.JSONL:
            with Path(out).open("wb") as file:
                return exporting.jsonl(documents, file)


def _entries(log: "Opened", looked_for: "Wanted", sent: Path | None = None, *, newest_first: bool = False) -> "Iterator[Entry]":
    from headrace.ext_proc.audit.errors import AuditError, KeyGone
    from headrace.ext_proc.audit.reading import entries

    found = entries(log.home.path, looked_for, newest_first=newest_first)
    if sent is None:
        yield from found
        return
    if log.vault is None:
        raise AuditError("hashes are compared with the master key: name the policy, or give --master-key")
    data = sent.read_bytes()
    for entry in found:
        body = entry.line.bodies.get("request", {})
        try:
            if "mac" in body and log.vault.is_of(body, data):
                yield entry
        except KeyGone:
            continue


def _lines(said: dict[str, Any], *, steps: bool) -> Iterator[str]:
    record = said["record"]
    yield "  ".join(_printable(str(word)) for word in (said["time"], said["kind"], *_facts(record)) if word)
    for step in record.get("steps", ()) if steps else ():
        words = (f"{step['filter']} {step['phase']}: {step['outcome']}", step["reason"], f"{step['us']:.0f} µs", step.get("note"))
        yield f"    {_printable('  '.join(str(word) for word in words if word))}"
    for part in ("request", "answer"):
        if part in said:
            yield f"    {part}: {_printable(str(said[part]))}"


def _facts(record: dict[str, Any]) -> Iterator[Any]:
    from headrace.ext_proc.audit.export import route_of

    caller = record.get("principal", record)
    yield record.get("exchange")
    yield "/".join(str(caller[level]) for level in ("organisation", "team", "app", "user") if caller.get(level))
    yield record.get("model")
    yield route_of(record)
    yield record.get("outcome")
    yield record.get("reason")
    if usage := record.get("usage"):
        yield f"{usage['input_tokens']}+{usage['output_tokens']} tokens"
    if "usd" in record:
        yield f"{record['usd']} USD"


def _printable(text: str) -> str:
    """Models and bodies are the client's words: nothing of them may steer a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
