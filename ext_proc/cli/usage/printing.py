"""A report as a table for people, as CSV, as JSON."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal

from headrace.ext_proc.engine.usage.grouping import COLUMNS, Report, Sums

_SHORT = {"input_tokens": "input", "cached_tokens": "cached", "output_tokens": "output", "reasoning_tokens": "reasoning"}


def table(report: Report) -> str:
    names = len(report.by)
    head = [*report.by, *(_SHORT.get(name, name) for name in COLUMNS)]
    body = [[*row[:names], *map(_grouped, row[names:])] for row in report.rows()]
    total = ["total", *[""] * (names - 1), *map(_grouped, report.total.row)]
    return aligned([head, *body, total], names)


def _grouped(number: str) -> str:
    return f"{Decimal(number):,f}"


def aligned(lines: Sequence[Sequence[str]], names: int) -> str:
    """Columns two spaces apart, the first `names` of them to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(_line(line, widths, names) for line in lines)


def _line(cells: Sequence[str], widths: Sequence[int], names: int) -> str:
    left = [cell.ljust(width) for cell, width in zip(cells[:names], widths[:names], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(cells[names:], widths[names:], strict=True)]
    return "  ".join([*left, *right]).rstrip() + "\n"


def as_csv(report: Report) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*report.by, *COLUMNS])
    writer.writerows(report.rows())
    return out.getvalue()


def as_json(report: Report) -> str:
    """Counts as numbers, money as a decimal string."""
    names = len(report.by)
    groups = [{**dict(zip(report.by, row[:names], strict=True)), **_members(row[names:])} for row in report.rows()]
    return json.dumps({"by": list(report.by), "groups": groups, "total": _total(report.total)}, indent=2) + "\n"


def _total(sums: Sums) -> Mapping[str, int | str]:
    return _members(sums.row)


def _members(row: Sequence[str]) -> Mapping[str, int | str]:
    return {name: value if name == "usd" else int(value) for name, value in zip(COLUMNS, row, strict=True)}


FORMS: Mapping[str, Callable[[Report], str]] = {"table": table, "csv": as_csv, "json": as_json}
