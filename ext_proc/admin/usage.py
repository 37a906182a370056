"""What was used, from the ledger."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, Field

from headrace.ext_proc.admin.errors import Problem, invalid
from headrace.ext_proc.admin.operation import Call, Given
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION
from headrace.ext_proc.engine.keys import Part
from headrace.ext_proc.engine.usage.grouping import COLUMNS, KEYS, Report
from headrace.ext_proc.engine.usage.reading import records

GROUPS_MAX = 10_000
"""Groups of one answer, some 300 bytes each; more are for `headrace usage export`."""


class UsageQuery(Given):
    """Whose usage, of which time, added up by what."""

    organisation: Part = DEFAULT_ORGANISATION
    by: Annotated[
        str,
        Field(
            max_length=200,
            description=f"What to add up by, comma-separated, of {', '.join(KEYS)}.",
            json_schema_extra={"pattern": f"^ *({'|'.join(KEYS)}) *(, *({'|'.join(KEYS)}) *)*$"},
        ),
    ] = "team,model"
    start: Annotated[AwareDatetime | None, Field(alias="from", description="From this instant on (RFC 3339).")] = None
    end: Annotated[AwareDatetime | None, Field(alias="to", description="Before this instant; now when absent.")] = None


class Sums(BaseModel):
    """Of one group."""

    requests: int = Field(description="Those that were charged.")
    released: int = Field(description="Those that cost nothing: refused after they were reserved, or failed upstream.")
    input_tokens: int
    cached_tokens: int = Field(description="Part of the input.")
    output_tokens: int
    reasoning_tokens: int = Field(description="Part of the output.")
    usd: str = Field(description="Decimal, exact.", pattern=r"^[0-9]+(\.[0-9]+)?$")


class Group(BaseModel):
    """What was used under one combination of names."""

    names: dict[str, str] = Field(description="By what `by` says; empty where a record has no such name.")
    sums: Sums


class Usage(BaseModel):
    """The dearest group first."""

    groups: list[Group]
    total: Sums


async def show_usage(call: Call[UsageQuery, None]) -> Usage:
    query = call.query
    report = Report(_names(query.by))
    start_ms = _ms(query.start) if query.start else 0
    end_ms = _ms(query.end) if query.end else _ms(call.now) + 1
    async for record in records(call.site.store, query.organisation, start_ms, end_ms):
        report.add(record)
        if len(report.groups) > GROUPS_MAX:
            raise invalid([Problem(where="query.by", message=f"gives over {GROUPS_MAX:,} groups; ask for less")])
    groups = [_group(report.by, row) for row in report.rows()]
    return Usage(groups=groups, total=_sums(report.total.row))


def _names(by: str) -> Sequence[str]:
    """Raises ApiError."""
    names = [name.strip() for name in by.split(",")]
    if unknown := [name for name in names if name not in KEYS]:
        raise invalid([Problem(where="query.by", message=f"{unknown[0][:40]!r} is none of {', '.join(KEYS)}")])
    return list(dict.fromkeys(names))


def _group(by: Sequence[str], row: Sequence[str]) -> Group:
    return Group(names=dict(zip(by, row[: len(by)], strict=True)), sums=_sums(row[len(by) :]))


def _sums(row: Sequence[str]) -> Sums:
    members: Mapping[str, object] = {name: value if name == "usd" else int(value) for name, value in zip(COLUMNS, row, strict=True)}
    return Sums.model_validate(members)


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
