"""The ledger as Parquet files. ImportError where pyarrow is not installed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.engine.usage.grouping import TOKENS
from headrace.ext_proc.engine.usage.reading import records

_WORDS: Final = ("outcome", "exchange", "organisation", "team", "app", "user", "key", "model", "served", "route", "endpoint")
SCHEMA: Final = pa.schema(
    [
        ("at", pa.timestamp("ms", tz="UTC")),
        *((name, pa.string()) for name in _WORDS),
        ("stream", pa.bool_()),
        ("status", pa.int32()),
        *((name, pa.int64()) for name in TOKENS),
        ("usd", pa.decimal128(28, 9)),
        ("price_revision", pa.string()),
        ("duration_ms", pa.int64()),
    ]
)
ROWS: Final = 10_000
"""Of one row group, held in memory."""


async def write(path: Path, store: Store, organisation: str, start_ms: int, end_ms: int) -> int:
    """How many records were written. Raises StoreUnavailable, and OSError where the file cannot be written."""
    count, rows = 0, []
    with pq.ParquetWriter(path, SCHEMA) as writer:
        async for record in records(store, organisation, start_ms, end_ms):
            rows.append(_row(record))
            count += 1
            if len(rows) == ROWS:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
                rows = []
        writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    return count


def _row(record: Mapping[str, str]) -> dict[str, Any]:
    numbers = {name: int(record[name]) for name in (*TOKENS, "status", "duration_ms") if name in record}
    words = {name: record[name] for name in (*_WORDS, "price_revision") if name in record}
    money = {"usd": Decimal(record["nano_usd"]).scaleb(-9)} if "nano_usd" in record else {}
    streamed = {"stream": record["stream"] == "1"} if "stream" in record else {}
    return {"at": int(record["at_ms"]), **words, **numbers, **money, **streamed}


def read(paths: Sequence[Path], start_ms: int, end_ms: int) -> Iterator[Mapping[str, str]]:
    """Records with `start_ms <= at_ms < end_ms`, as the ledger had them. Raises ValueError for files of something else, and for two
    that have the same time of one organisation: their records would count twice. OSError for files that cannot be read.
    """
    seen: dict[str, list[_Span]] = {}
    for path in paths:
        spans: dict[str, _Span] = {}
        for record in _records(path):
            at_ms = int(record["at_ms"])
            spans.setdefault(record.get("organisation", ""), _Span(path, at_ms, at_ms)).reach(at_ms)
            if start_ms <= at_ms < end_ms:
                yield record
        for organisation, span in spans.items():
            span.refuse_overlap(seen.setdefault(organisation, []))


@dataclass
class _Span:
    """The first and the last instant of a file, epoch ms."""

    path: Path
    first: int
    last: int

    def reach(self, at_ms: int) -> None:
        self.first, self.last = min(self.first, at_ms), max(self.last, at_ms)

    def refuse_overlap(self, others: "list[_Span]") -> None:
        for other in others:
            if self.first <= other.last and other.first <= self.last:
                raise ValueError(f"{self.path}: has records of the same time as {other.path}; export times that do not overlap")
        others.append(self)


def _records(path: Path) -> Iterator[Mapping[str, str]]:
    try:
        with pq.ParquetFile(path) as file:
            if missing := [name for name in SCHEMA.names if name not in file.schema_arrow.names]:
                raise ValueError(f"no column {missing[0]!r}")
            for batch in file.iter_batches(ROWS, columns=SCHEMA.names):
                yield from map(_record, batch.cast(SCHEMA).to_pylist())
    except ValueError as error:
        raise ValueError(f"{path}: not a file of `headrace usage export`: {error}") from None


def _record(row: Mapping[str, Any]) -> Mapping[str, str]:
    """The other direction of _row."""
    plain = {name: str(value) for name, value in row.items() if value is not None and name not in ("at", "usd", "stream")}
    money = {} if row["usd"] is None else {"nano_usd": str(int(row["usd"].scaleb(9)))}
    streamed = {} if row["stream"] is None else {"stream": str(int(row["stream"]))}
    return {**plain, **money, **streamed, "at_ms": str(round(row["at"].timestamp() * 1000))}
