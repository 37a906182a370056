"""The dashboard and the alert rules ask for metrics that there are, and a real Prometheus understands them."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML

from headrace.ext_proc.telemetry.alert_rules import RULES
from headrace.ext_proc.telemetry.dashboard import dashboard, expressions
from headrace.ext_proc.telemetry.metrics import FAMILIES
from tests.cli.command import headrace
from tests.e2e.served import MODEL, Served, served
from tests.service.waiting import until
from tests.stores.servers import free_ports

ASKED = [*expressions(), *(rule.holds for rule in RULES)]
SAMPLES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
LABELS = {
    f"{family.name}{suffix}": {*family.labels, "le", "job", "instance"} for family in FAMILIES for suffix in SAMPLES[family.kind]
}
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="Debian's package prometheus is not installed")


@pytest.mark.parametrize("query", ASKED)
def test_every_metric_and_label_a_query_names_exists(query: str) -> None:
    named = re.findall(r"\b(?:headrace|gen_ai_client)_[a-z_]+\b", query)
    assert named
    assert set(named) <= LABELS.keys()
    groups = ["".join(part) for part in re.findall(r"\bby \((.*?)\)|\{(.*?)\}", query)]
    labels = {label for group in groups for label in re.findall(r"([a-z_]+)(?:\s*[=,!]|$)", group)}
    assert labels <= {label for name in named for label in LABELS[name]}


def test_every_metric_is_on_the_dashboard_or_says_why_not() -> None:
    elsewhere = {
        "gen_ai_client_token_usage",
        "gen_ai_client_operation_duration_seconds",
        "headrace_pii_undeclared",
        "headrace_policy_reload_failures",
        "headrace_policy_refused",
        *CERTIFICATES,
        "headrace_decisions_dropped",
        "headrace_alerts_dropped",
    }
    shown = " ".join(expressions())
    assert {family.name for family in FAMILIES if family.name not in shown} == elsewhere


def test_panels_do_not_lie_over_each_other() -> None:
    cells = [
        (x, y)
        for panel in dashboard()["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in dashboard()["panels"]}) == len(dashboard()["panels"])


def test_the_commands_print_what_the_tools_read(tmp_path: Path) -> None:
    assert json.loads(headrace("metrics", "dashboard", cwd=tmp_path).stdout) == dashboard()
    rules = YAML(typ="safe").load(headrace("metrics", "alerts", cwd=tmp_path).stdout)
    assert [rule["alert"] for rule in rules["groups"][0]["rules"]] == [rule.name for rule in RULES]
    assert "headrace_requests_total{endpoint, outcome, reason}" in headrace("metrics", "list", cwd=tmp_path).stdout


@needs_prometheus
def test_promtool_takes_the_rules(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(headrace("metrics", "alerts", cwd=tmp_path).stdout)
    done = subprocess.run(["promtool", "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


DAY_S = 86_400


def certified(instance: str, since: int, until: int) -> list[dict[str, str]]:
    """The series of a certificate; since and until: seconds from the beginning."""
    labels = f'{{job="headrace", instance="{instance}", listener="0"}}'
    dates = {"not_before": since, "not_after": until}
    return [
        {"series": f"headrace_certificate_{name}_timestamp_seconds{labels}", "values": f"{date}x20"} for name, date in dates.items()
    ]


UNIT_TESTS = {
    "HeadraceDown": (
        [{"series": 'up{job="headrace", instance="a"}', "values": "0x20"}],
        [{"severity": "critical"}],
    ),
    "HeadraceInstanceDown": (
        [
            {"series": 'up{job="headrace", instance="a"}', "values": "1x5 0x15"},
            {"series": 'headrace_worker_ready{job="headrace", instance="a", worker="0"}', "values": "1x5 stale"},
            {"series": 'headrace_worker_ready{job="headrace", instance="b", worker="0"}', "values": "1x20"},
            {"series": 'up{job="node", instance="c"}', "values": "0x20"},
        ],
        [{"severity": "critical", "job": "headrace", "instance": "a"}],
    ),
    "HeadraceWorkerDown": (
        [
            {"series": 'headrace_worker_ready{job="headrace", instance="a", worker="0"}', "values": "1x5 0x15"},
            {"series": 'headrace_worker_ready{job="headrace", instance="b", worker="0"}', "values": "1x5 stale"},
        ],
        [{"severity": "critical", "job": "headrace", "instance": "a"}],
    ),
    "HeadracePolicyRefused": (
        [
            {"series": 'headrace_policy_reload_failures_total{job="headrace", instance="a"}', "values": "0 1x19"},
            {"series": 'headrace_policy_refused{job="headrace", instance="a", worker="0"}', "values": "0 1x19"},
            {"series": 'headrace_policy_refused{job="headrace", instance="a", worker="1"}', "values": "0 1x19"},
            {"series": 'headrace_policy_reload_failures_total{job="headrace", instance="b"}', "values": "0x10 1x9"},
            {"series": 'headrace_policy_refused{job="headrace", instance="b", worker="0"}', "values": "0x10 1 0x8"},
        ],
        [{"severity": "warning", "job": "headrace", "instance": "a"}],
    ),
    "HeadraceCertificateRefused": (
        [
            {"series": 'headrace_certificate_refused{job="headrace", instance="a", listener="0"}', "values": "0 1x19"},
            {"series": 'headrace_certificate_refused{job="headrace", instance="b", listener="0"}', "values": "0x18 1 0"},
        ],
        [{"severity": "warning", "job": "headrace", "instance": "a"}],
    ),
    "HeadraceCertificateExpires": (
        [
            *certified("a", 0, 90 * DAY_S),
            *certified("year, 6 days left", 6 * DAY_S - 365 * DAY_S, 6 * DAY_S),
            *certified("year, 8 days left", 8 * DAY_S - 365 * DAY_S, 8 * DAY_S),
            *certified("day, 4 hours left", -20 * 3600, 4 * 3600),
            *certified("day, 6 hours left", -18 * 3600, 6 * 3600),
        ],
        [{"severity": "critical", "job": "headrace", "instance": one} for one in ("year, 6 days left", "day, 4 hours left")],
    ),
    "HeadraceSlow": (
        [
            {"series": 'headrace_added_duration_seconds_bucket{job="headrace", endpoint="chat", le="0.5"}', "values": "0+1x30"},
            {"series": 'headrace_added_duration_seconds_bucket{job="headrace", endpoint="chat", le="+Inf"}', "values": "0+1x30"},
            {"series": 'headrace_added_duration_seconds_bucket{job="headrace", endpoint="other", le="0.1"}', "values": "0+999x30"},
            {"series": 'headrace_added_duration_seconds_bucket{job="headrace", endpoint="other", le="0.5"}', "values": "0+999x30"},
            {"series": 'headrace_added_duration_seconds_bucket{job="headrace", endpoint="other", le="+Inf"}', "values": "0+999x30"},
        ],
        [{"severity": "warning", "job": "headrace"}],
    ),
    "HeadraceRefusesMuch": (
        [
            {"series": 'headrace_requests_total{job="headrace", endpoint="chat", outcome="refused"}', "values": "0+1x30"},
            {"series": 'headrace_requests_total{job="headrace", endpoint="other", outcome="aborted"}', "values": "0+99x30"},
        ],
        [{"severity": "info", "job": "headrace"}],
    ),
}
"""Alert → series, one value a minute, and what fires after twenty."""


@needs_prometheus
@pytest.mark.parametrize("alert", UNIT_TESTS)
def test_an_alert_fires(alert: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(headrace("metrics", "alerts", cwd=tmp_path).stdout)
    series, expected = UNIT_TESTS[alert]
    firing = f'count by (job, instance, severity) (ALERTS{{alertname="{alert}", alertstate="firing"}})'
    fired = [{"labels": _labelled(labels), "value": 1} for labels in expected]
    asked = {"expr": firing, "eval_time": "20m", "exp_samples": fired}
    case = {"interval": "1m", "input_series": series, "promql_expr_test": [asked]}
    (tmp_path / "test.yaml").write_text(json.dumps({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [case]}))
    done = subprocess.run(["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _labelled(labels: dict[str, str]) -> str:
    return f"{{{', '.join(f'{name}={json.dumps(value)}' for name, value in labels.items())}}}"


@asynccontextmanager
async def prometheus(folder: Path, target: str) -> AsyncIterator[httpx.AsyncClient]:
    """A real one that scrapes `target` four times a second."""
    (folder / "rules.yaml").write_text(headrace("metrics", "alerts", cwd=folder).stdout)
    config = {
        "global": {"scrape_interval": "250ms", "scrape_timeout": "250ms", "evaluation_interval": "250ms"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "headrace", "static_configs": [{"targets": [target]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))
    (port,) = free_ports(1)
    program = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*program, cwd=folder, stdout=log, stderr=log)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1") as client:
            yield client
    finally:
        process.terminate()
        await process.wait()


async def query(client: httpx.AsyncClient, text: str) -> list[Any]:
    """The series of a query as the dashboard asks it."""
    asked = text.replace("$__rate_interval", "1m").replace("$job", ".+")
    answer = (await client.get("/query", params={"query": asked})).json()
    assert answer["status"] == "success", f"{asked}: {answer}"
    found: list[Any] = answer["data"]["result"]
    return found


NOW = """version: 1
models:
  - {name: llama-3.3-70b, price: {input: 0.6, output: 0.8}, max_output: 256}
identity: [{headers: {team: x-team}}]
budgets:
  - {name: month, per: [team], limit: {tokens: 1000}, window: month, warn_at: [0.01]}
filters:
  - identity: {}
  - pii: {entities: [EMAIL_ADDRESS], model: none, request: report}
  - budget: {}
"""
CERTIFICATES = {
    f"headrace_certificate_{what}" for what in ("refused", "not_before_timestamp_seconds", "not_after_timestamp_seconds")
}
UNEVENTFUL = {"headrace_audit_commit_duration_seconds", "headrace_failovers", *CERTIFICATES}
"""Families without a series where nothing failed, nothing is audited and nothing served over TLS; Prometheus knows them."""


async def asks(running: Served, content: str) -> None:
    body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": content}]}
    answer = await running.client.post("/v1/chat/completions", json=body, headers={"x-team": "mill", "x-simulate": "tokens=4"})
    assert answer.status_code == 200


@needs_prometheus
async def test_a_real_prometheus_has_every_metric_that_the_dashboard_and_the_rules_ask_for(tmp_path: Path) -> None:
    (tmp_path / "next.yaml").write_text(NOW.replace("request: report", "request: block"))
    async with served(policy=f"{NOW}candidate: {{file: {tmp_path}/next.yaml}}\n") as running:
        for content in ("Write to ada@example.com", "Hello"):
            await asks(running, content)
        await until(lambda: _was_tried(running), "the candidate was tried")
        async with prometheus(tmp_path, str(running.admin.base_url.netloc, "ascii")) as client:
            for late in ("headrace_candidate_changes_total", "headrace_budget_warnings_total"):  # the settlement's
                await until(lambda late=late: _has(client, late), f"it has scraped {late}")  # type: ignore[misc]
            known = (await client.get("/metadata")).json()["data"]
            named = {name for text in ASKED for name in re.findall(r"\b(?:headrace|gen_ai_client)_[a-z_]+\b", text)}
            families = {family.name: family for family in FAMILIES if any(name.startswith(family.name) for name in named)}
            assert set(families) <= {name.removesuffix("_total") for name in known}
            await until(lambda: _has_all(client, set(families) - UNEVENTFUL), "it has scraped them")


async def _has_all(client: httpx.AsyncClient, names: Iterable[str]) -> bool:
    """Those of a settlement are scraped when they are there."""
    return all([await query(client, f'{{__name__=~"{name}(_total|_bucket)?"}}') for name in names])


async def _was_tried(running: Served) -> bool:
    return 'headrace_candidate_exchanges_total{outcome="different"} 1' in await running.metrics()


@needs_prometheus
async def test_a_real_prometheus_scrapes_us_and_answers_every_query(tmp_path: Path) -> None:
    async with served() as running:
        async with running.stream("tokens=4") as answer:
            await answer.aread()
        async with prometheus(tmp_path, str(running.admin.base_url.netloc, "ascii")) as client:
            await until(lambda: _has(client, "rate(headrace_requests_total[1m])"), "it has scraped us")
            for text in ASKED:
                await query(client, text)
            (up,) = await query(client, "up")
            assert up["value"][1] == "1"
            assert await query(client, "headrace_worker_ready == 1")
            rules = (await client.get("/rules")).json()["data"]["groups"][0]["rules"]
            assert {rule["health"] for rule in rules} <= {"ok", "unknown"}


async def _has(client: httpx.AsyncClient, text: str) -> bool:
    try:
        return bool(await query(client, text))
    except (httpx.HTTPError, json.JSONDecodeError):
        return False
