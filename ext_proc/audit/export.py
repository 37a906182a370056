"""Records written elsewhere: JSON lines, Parquet, a collector of OTLP logs. ImportError for Parquet without pyarrow."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from headrace.ext_proc.audit.errors import AuditError
from headrace.ext_proc.audit.lines import instant
from headrace.ext_proc.core.principal import LEVELS

Document = Mapping[str, Any]
AT_ONCE: Final = 1000
"""Records in one request to a collector, and in a row group's part, held in memory."""
_encode = msgspec.json.Encoder(enc_hook=str).encode


def jsonl(documents: Iterable[Document], out: IO[bytes]) -> int:
    """One document a line; how many."""
    count = 0
    for document in documents:
        out.write(_encode(document) + b"\n")
        count += 1
    return count


_WORDS: Final = ("kind", "chain", "exchange", *LEVELS, "endpoint", "model", "route", "outcome", "reason", "revision")
_NUMBERS: Final = ("segment", "seq", "status", "input_tokens", "output_tokens")


def parquet(documents: Iterable[Document], path: Path) -> int:
    """A row for each record; `record` holds all of it as JSON, as do `request` and `answer` where bodies are exported."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    words = [(name, pa.string()) for name in (*_WORDS, "record", "request", "answer")]
    numbers = [(name, pa.int64()) for name in _NUMBERS]
    schema = pa.schema([("time", pa.timestamp("ms", tz="UTC")), *words, *numbers, ("usd", pa.decimal128(28, 9))])
    count, rows = 0, iter(documents)
    with pq.ParquetWriter(path, schema) as writer:
        while batch := [_row(document) for document in islice(rows, AT_ONCE)]:
            writer.write_table(pa.Table.from_pylist(batch, schema))
            count += len(batch)
    return count


def _row(document: Document) -> dict[str, Any]:
    record = document["record"]
    usage, caller = record.get("usage", {}), record.get("principal", record)
    known = {**record, **{level: caller.get(level) for level in LEVELS}, "route": route_of(record)}
    row = {name: known[name] for name in _WORDS if isinstance(known.get(name), str)}
    row |= {name: document[name] for name in ("kind", "chain", "segment", "seq")}
    row |= {name: usage[name] for name in ("input_tokens", "output_tokens") if name in usage}
    row |= {"status": record["status"]} if isinstance(record.get("status"), int) else {}
    row |= {"usd": Decimal(record["usd"]).quantize(Decimal("1e-9"))} if "usd" in record else {}
    row |= {part: _text(document[part]) for part in ("request", "answer") if part in document}
    return {**row, "time": instant(document["time"]), "record": _encode(record).decode()}


def _text(body: Any) -> str:
    return body if isinstance(body, str) else _encode(body).decode()


def route_of(record: Mapping[str, Any]) -> str | None:
    """Where the request went: a settlement says so itself, a decision in what it told the gateway."""
    found = record.get("route") or record.get("metadata", {}).get("route")
    return found if isinstance(found, str) else None


def otlp(documents: Iterable[Document], endpoint: str) -> int:
    """To `endpoint`/v1/logs. Raises AuditError where the collector does not take them."""
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs.export import LogRecordExportResult

    exporter = OTLPLogExporter(endpoint=f"{endpoint.rstrip('/')}/v1/logs")
    count, rest = 0, iter(documents)
    try:
        while batch := list(islice(rest, AT_ONCE)):
            if exporter.export(list(_log_records(batch))) is not LogRecordExportResult.SUCCESS:
                raise AuditError(f"{endpoint} did not take {len(batch)} records after {count}")
            count += len(batch)
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]  # the SDK's
    return count


def _log_records(documents: Sequence[Document]) -> Iterator[Any]:
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import ReadableLogRecord
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope

    resource, scope = Resource.create({"service.name": "headrace"}), InstrumentationScope("headrace.audit")
    for document in documents:
        refused = document["record"].get("outcome") == "refused"
        record = LogRecord(
            timestamp=instant(document["time"]) * 1_000_000,
            severity_number=SeverityNumber.WARN if refused else SeverityNumber.INFO,
            event_name=f"headrace.audit.{document['kind']}",
            body=_encode(document).decode(),
            attributes=_attributes(document),
        )
        yield ReadableLogRecord(record, resource, scope)


def _attributes(document: Document) -> dict[str, str | int]:
    record = document["record"]
    place = {f"headrace.audit.{name}": document[name] for name in ("chain", "seq", "kind")}
    told = {f"headrace.{name}": record[name] for name in ("exchange", "outcome", "reason") if record.get(name)}
    return {**place, **told}
