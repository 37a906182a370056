"""A Grafana dashboard over our metrics: https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from headrace.ext_proc.telemetry.alert_rules import CALLS

JOB: Final = 'job=~"$job"'
_WIDTH, _HEIGHT = 8, 8
"""Of a panel, in Grafana's units: three in a row of 24."""


@dataclass(frozen=True)
class Panel:
    """unit: Grafana's name. queries: PromQL → legend."""

    title: str
    unit: str
    queries: Mapping[str, str]
    help: str = ""


def _rate(metric: str, by: str, condition: str = "") -> str:
    """Per second, over the labels named."""
    return f"sum by ({by}) (rate({metric}{{{JOB}{condition}}}[$__rate_interval]))"


def _quantile(share: float, metric: str, by: str = "", condition: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, {_rate(f'{metric}_bucket', labels, condition)})"


ROWS: Final[Mapping[str, Sequence[Panel]]] = {
    "Requests": (
        Panel(
            "Requests",
            "reqps",
            {_rate("headrace_requests_total", "outcome", f", {CALLS}"): "{{outcome}}"},
            "To LLM endpoints. aborted: the gateway or the caller ended them first.",
        ),
        Panel(
            "Refusals by reason",
            "reqps",
            {_rate("headrace_requests_total", "reason", ', outcome="refused"'): "{{reason}}"},
            "What callers are told; docs/filters says what each reason means.",
        ),
        Panel(
            "Time Headrace adds",
            "s",
            {
                _quantile(share, "headrace_added_duration_seconds", condition=f", {CALLS}"): f"p{share * 100:g}"
                for share in (0.5, 0.95, 0.99)
            },
            "Over all phases of one exchange with an LLM endpoint.",
        ),
    ),
    "Models": (
        Panel(
            "Tokens",
            "none",
            {_rate("headrace_tokens_total", "model, kind"): "{{model}} {{kind}}"},
            "Per second, as providers report.",
        ),
        Panel(
            "Money",
            "currencyUSD",
            {f"sum by (model) (increase(headrace_spend_usd_total{{{JOB}}}[1h]))": "{{model}}"},
            "Settled in the last hour.",
        ),
        Panel(
            "Time to the first byte",
            "s",
            {
                _quantile(
                    0.95, "gen_ai_client_operation_time_to_first_chunk_seconds", "gen_ai_request_model"
                ): "{{gen_ai_request_model}}"
            },
            "Of streamed answers, 95th percentile.",
        ),
    ),
    "Filters": (
        Panel(
            "Filters that failed",
            "reqps",
            {_rate("headrace_verdicts_total", "filter, reason", ', outcome="failed"'): "{{filter}} {{reason}}"},
        ),
        Panel(
            "Would refuse, in shadow mode",
            "reqps",
            {_rate("headrace_verdicts_total", "filter, reason", ', outcome="would_reply"'): "{{filter}} {{reason}}"},
        ),
        Panel(
            "Time of a filter",
            "s",
            {_quantile(0.99, "headrace_filter_duration_seconds", "filter"): "{{filter}}"},
            "99th percentile of one verdict.",
        ),
        Panel("Personal data found", "none", {_rate("headrace_pii_findings_total", "entity"): "{{entity}}"}, "Per second."),
        Panel(
            "Thresholds of budgets reached",
            "none",
            {f"sum by (budget) (increase(headrace_budget_warnings_total{{{JOB}}}[1h]))": "{{budget}}"},
            "In the last hour.",
        ),
        Panel(
            "The candidate would do otherwise",
            "reqps",
            {_rate("headrace_candidate_changes_total", "change"): "{{change}}"},
            "A policy that is tried beside the one in force.",
        ),
        Panel(
            "The candidate was tried",
            "reqps",
            {_rate("headrace_candidate_exchanges_total", "outcome"): "{{outcome}}"},
            "passed_over: the worker was too busy.",
        ),
        Panel("Failovers", "reqps", {_rate("headrace_failovers_total", "failed, upstream"): "{{failed}} → {{upstream}}"}),
    ),
    "Settlement and store": (
        Panel(
            "Leases by what became of them", "none", {_rate("headrace_settlements_total", "outcome"): "{{outcome}}"}, "Per second."
        ),
        Panel(
            "Time of the store",
            "s",
            {_quantile(0.99, "headrace_store_duration_seconds", "operation"): "{{operation}}"},
            "99th percentile.",
        ),
        Panel(
            "Waiting and lost",
            "none",
            {
                f"sum(headrace_effects_waiting{{{JOB}}})": "settlements that wait",
                f"sum(increase(headrace_effects_dropped_total{{{JOB}}}[1h]))": "settlements dropped in an hour",
                _rate("headrace_store_errors_total", "operation"): "store errors a second: {{operation}}",
            },
        ),
    ),
    "Audit log": (
        Panel(
            "Records on disk and lost",
            "none",
            {
                f"sum(rate(headrace_audit_records_total{{{JOB}}}[$__rate_interval]))": "on disk",
                f"sum(rate(headrace_audit_dropped_total{{{JOB}}}[$__rate_interval]))": "lost",
                f"sum(rate(headrace_audit_failures_total{{{JOB}}}[$__rate_interval]))": "failed tries",
                f"sum(headrace_audit_waiting{{{JOB}}})": "waiting",
            },
            "Per second; waiting: at the moment.",
        ),
        Panel(
            "Time of a batch",
            "s",
            {_quantile(share, "headrace_audit_commit_duration_seconds"): f"p{share * 100:g}" for share in (0.5, 0.99)},
            "fsync included. With on_full: block a request waits for one.",
        ),
        Panel("Bytes", "Bps", {f"sum(rate(headrace_audit_bytes_total{{{JOB}}}[$__rate_interval]))": "written"}),
    ),
    "Service": (
        Panel(
            "Workers that serve",
            "none",
            {f"sum(headrace_worker_ready{{{JOB}}})": "ready", f"sum(headrace_worker_restarts_total{{{JOB}}})": "restarts"},
        ),
        Panel(
            "Open exchanges and heavy jobs",
            "none",
            {f"sum(headrace_active_streams{{{JOB}}})": "exchanges", f"sum(headrace_offload_waiting{{{JOB}}})": "jobs"},
        ),
        Panel(
            "Policy",
            "none",
            {f"sum by (revision) (headrace_policy_info{{{JOB}}})": "{{revision}}"},
            "Workers that have a revision in force.",
        ),
    ),
}


def dashboard() -> Mapping[str, Any]:
    """The document that Grafana imports. It asks for a Prometheus data source, and for the job that scrapes Headrace."""
    return {
        "title": "Headrace",
        "uid": "headrace",
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "tags": ["headrace", "llm"],
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_datasource(), _job()]},
        "panels": list(_panels()),
    }


def expressions() -> Iterator[str]:
    """Every query, with its variables."""
    return (query for panels in ROWS.values() for panel in panels for query in panel.queries)


def _panels() -> Iterator[Mapping[str, Any]]:
    id, top = 1, 0
    for title, panels in ROWS.items():
        yield {
            "id": id,
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": top, "w": 24, "h": 1},
            "panels": [],
        }
        id, top = id + 1, top + 1
        for index, panel in enumerate(panels):
            place = {"x": index % 3 * _WIDTH, "y": top + index // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT}
            yield _panel(panel, id, place)
            id += 1
        top += -(-len(panels) // 3) * _HEIGHT


def _panel(panel: Panel, id: int, place: Mapping[str, int]) -> Mapping[str, Any]:
    targets = [
        {"refId": chr(ord("A") + index), "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(panel.queries.items())
    ]
    return {
        "id": id,
        "type": "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": targets,
    }


def _datasource() -> Mapping[str, Any]:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"}


def _job() -> Mapping[str, Any]:
    return {
        "name": "job",
        "type": "query",
        "label": "Job",
        "datasource": {"type": "prometheus", "uid": "${datasource}"},
        "query": "label_values(headrace_worker_ready, job)",
        "refresh": 2,
        "multi": True,
        "includeAll": True,
    }
