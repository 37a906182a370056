"""The overview: what happens now. Its part asks for itself anew every five seconds."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal

from starlette.responses import Response

from headrace.ext_proc.admin.console.charts import Bar, bars
from headrace.ext_proc.admin.console.counts import Counts, Growth
from headrace.ext_proc.admin.console.frame import Visit
from headrace.ext_proc.admin.console.pools import pools_of
from headrace.ext_proc.admin.operation import Given

SPANS: Mapping[str, tuple[int, str]] = {"5m": (300, "5 minutes"), "15m": (900, "15 minutes"), "1h": (3600, "hour")}
COLUMNS = 60
Span = Literal["5m", "15m", "1h"]


class OverviewQuery(Given):
    """live: off for a page that stays as it is."""

    span: Span = "15m"
    live: Literal["on", "off"] = "on"


async def page(visit: Visit) -> Response:
    return visit.page("overview.html", **await _values(visit))


async def live(visit: Visit) -> Response:
    return visit.page("_live.html", **await _values(visit))


async def _values(visit: Visit) -> Mapping[str, Any]:
    query, console = visit.query(OverviewQuery), visit.console
    seconds, words = SPANS[query.span]
    growth = console.counts.growth(seconds)
    pools = await pools_of(console)
    return {
        "query": query, "spans": SPANS, "words": words, "growth": growth, "columns": _columns(console.counts, seconds),
        "latency": {"half": growth.quantile(0.5), "p95": growth.quantile(0.95), "p99": growth.quantile(0.99)},
        "peak": _peak(console.counts, seconds), "workers": console.around.workers(), "gauges": console.counts.gauges,
        "pools": pools,
        "servers": console.around.servers(), "now": visit.now, "columns_begin": growth.end - timedelta(seconds=seconds),
    }  # fmt: skip


def _columns(counts: Counts, seconds: int) -> list[Bar]:
    steps = counts.steps(seconds, COLUMNS)
    return list(bars([(step.total - step.refused, step.refused, _label(step)) for step in steps]))


def _peak(counts: Counts, seconds: int) -> float:
    """Requests a second in the highest column."""
    return max((step.total for step in counts.steps(seconds, COLUMNS)), default=0) / (seconds / COLUMNS)


def _label(step: Growth) -> str:
    return f"{step.end:%H:%M:%S}: {step.total - step.refused} passed, {step.refused} refused"
