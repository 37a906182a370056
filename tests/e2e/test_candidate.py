"""A candidate on live traffic through real Envoy, beside a replay of the same requests: they agree, exchange by exchange."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.cli.replay.playing import compare
from headrace.ext_proc.cli.replay.traces import read_trace
from headrace.ext_proc.engine.comparing import read
from tests.cli.command import headrace
from tests.e2e.served import MODEL, Served, served
from tests.service.waiting import until

pytestmark = pytest.mark.e2e

NOW = """version: 1
models:
  - {name: llama-3.3-70b, price: {input: 0.6, output: 0.8}, max_output: 256}
identity:
  - headers: {team: x-team}
budgets:
  - {name: team-month, per: [team], limit: {tokens: 1000000}, window: month}
filters:
  - identity: {}
  - pii: {entities: [EMAIL_ADDRESS], model: none, request: report}
  - budget: {}
"""
NEXT = NOW.replace("request: report", "request: block")
REQUESTS, EVERY = 100, 33
"""Three of a hundred have an address."""


def body(number: int) -> dict[str, Any]:
    content = f"Write to user{number}@example.com" if number % EVERY == 7 else "Hello"
    return {"model": MODEL, "messages": [{"role": "user", "content": content}]}


async def ask(running: Served, number: int) -> str:
    headers = {"x-team": f"team{number % 3}", "x-simulate": "tokens=2"}
    answer = await running.client.post("/v1/chat/completions", json=body(number), headers=headers)
    assert answer.status_code == 200
    return answer.headers["x-headrace-exchange"]


async def test_live_differences_compare_and_replay_agree(tmp_path: Path) -> None:
    (tmp_path / "now.yaml").write_text(NOW)
    (tmp_path / "next.yaml").write_text(NEXT)
    async with served(policy=f"{NOW}candidate: {{file: {tmp_path}/next.yaml}}\n", workers=2) as running:
        exchanges = [await ask(running, number) for number in range(REQUESTS)]

        async def tried() -> bool:
            found = read(running.folder / "decisions.jsonl", 100)
            return found is not None and found.tried == REQUESTS

        await until(tried, "the candidate was tried on every exchange")
        found = read(running.folder / "decisions.jsonl", 100)
        metrics = await running.metrics()
        told = headrace("policy", "compare", str(running.folder / "decisions.jsonl"), cwd=tmp_path).stdout
    assert found is not None
    wanted = [number for number in range(REQUESTS) if number % EVERY == 7]
    (change,) = found.changes
    assert change == "sent → refused pii.blocked"
    assert set(found.examples[change]) == {exchanges[number] for number in wanted}
    assert f"3 of {REQUESTS} exchanges differ (3.0%)" in told
    assert total(metrics, 'headrace_candidate_exchanges_total{outcome="different"}') == 3
    assert total(metrics, "headrace_candidate_changes_total{") == 3
    trace = tmp_path / "trace.jsonl"
    lines = [{"as": {"team": f"team{number % 3}"}, "request": {"body": body(number)}} for number in range(REQUESTS)]
    trace.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    replayed = await compare(read_trace(trace), tmp_path / "now.yaml", tmp_path / "next.yaml")
    assert replayed.by_change == found.changes
    assert replayed.examples[change] == [number + 1 for number in wanted]


def total(metrics: str, series: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(series))
