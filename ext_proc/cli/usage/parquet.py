"""The ledger as a Parquet file. ImportError where pyarrow is not installed."""

from collections.abc import Mapping
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
    from decimal import Decimal

    numbers = {name: int(record[name]) for name in (*TOKENS, "status", "duration_ms") if name in record}
    words = {name: record[name] for name in (*_WORDS, "price_revision") if name in record}
    money = {"usd": Decimal(record["nano_usd"]).scaleb(-9)} if "nano_usd" in record else {}
    streamed = {"stream": record["stream"] == "1"} if "stream" in record else {}
    return {"at": int(record["at_ms"]), **words, **numbers, **money, **streamed}
