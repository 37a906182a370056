"""The audit log through real Envoy: what a caller was answered is recorded, and no personal data is on the disk in clear."""

import base64
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.ext_proc.audit.home import Home
from headrace.ext_proc.audit.masters import LocalMaster
from headrace.ext_proc.audit.reading import Entry, Wanted, entries, of_exchange
from headrace.ext_proc.audit.vault import Spot, Vault
from headrace.ext_proc.audit.verifying import problems_of, verified
from tests.e2e.served import MODEL, Served, served
from tests.service.waiting import until

pytestmark = pytest.mark.e2e

SECRET = b"k" * 32
ADDRESS = "grace.hopper@example.com"
POLICY = """version: 1
models:
  - {name: llama-3.3-70b, price: {input: 0.6, output: 0.8}, max_output: 256}
identity:
  - headers: {team: x-team, user: x-user}
budgets:
  - {name: everybody, per: [organisation], limit: {tokens: 1000000000}, window: month}
filters:
  - identity: {}
  - pii: {entities: [EMAIL_ADDRESS], model: none, request: replace, restore: true}
  - budget: {}
audit: {directory: audit, bodies: encrypted, master_key: {file: master.key}, wait_ms: 20000}
"""


@pytest.fixture
def master(tmp_path: Path) -> Path:
    path = tmp_path / "master.key"
    path.write_text(base64.b64encode(SECRET).decode())
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def policy(master: Path) -> str:
    return POLICY.replace("master.key", str(master)).replace("directory: audit", f"directory: {master.parent}/audit")


def quick(master: Path) -> str:
    """Without the filter that takes its time to load."""
    return "".join(line for line in policy(master).splitlines(keepends=True) if "pii" not in line)


async def ask(running: Served, content: str = "Hello", **members: Any) -> httpx.Response:
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], **members}
    headers = {"x-team": "blue", "x-user": "grace", "x-simulate": "tokens=2"}
    return await running.client.post("/v1/chat/completions", json=body, headers=headers)


def recorded(directory: Path, exchange: str) -> dict[str, Entry]:
    return {entry.line.kind: entry for entry in of_exchange(directory, exchange)}


async def all_of(directory: Path, exchange: str, *kinds: str) -> dict[str, Entry]:
    async def there() -> bool:
        return set(kinds) <= recorded(directory, exchange).keys()

    await until(there, f"{kinds} of {exchange}")
    return recorded(directory, exchange)


def on_disk(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_decision_and_settlement_are_there_and_no_personal_data(master: Path, directory: Path) -> None:
    async with served(policy=policy(master)) as running:
        answer = await ask(running, f"Write to {ADDRESS}")
        assert answer.status_code == 200
        exchange = answer.headers["x-headrace-exchange"]
        early = recorded(directory, exchange)
        assert {"forwarded", "decision"} & early.keys(), "recorded before it was answered"
        found = await all_of(directory, exchange, "forwarded", "decision", "settlement")
        decided, settled = found["decision"].line.record, found["settlement"].line.record
        assert decided["principal"] == {"organisation": "default", "team": "blue", "user": "grace"}
        assert decided["model"] == MODEL
        (note,) = [step["note"] for step in decided["steps"] if step["filter"] == "pii" and step["phase"] == "request"]
        assert note == {"action": "replace", "findings": {"EMAIL_ADDRESS": 1}, "paths": ["messages[0].content"]}
        assert settled["usage"]["output_tokens"] == 2
        assert float(settled["usd"]) > 0
        assert ADDRESS.encode() not in on_disk(directory)
        assert ADDRESS in opened(directory, found["forwarded"], "request")
        assert "choices" in opened(directory, found["decision"], "answer")
        metrics = await running.metrics()
        assert "headrace_audit_dropped_total 0.0" in metrics
        running.signal(signal.SIGTERM)
        await running.process.wait()
    assert problems_of(verified(directory)) == []
    assert verified(directory).notes == []


def opened(directory: Path, entry: Entry, part: str) -> str:
    vault = Vault(Home(directory), LocalMaster(SECRET))
    body = entry.line.bodies[part]
    return vault.opened(body, Spot(entry.chain, entry.segment, entry.line.seq, part)).decode()


async def test_what_a_caller_was_answered_is_recorded_though_the_worker_was_killed(master: Path, directory: Path) -> None:
    async with served(policy=quick(master)) as running:
        answers = [await ask(running, f"number {number}") for number in range(5)]
        pid = worker_of(directory)
        os.kill(pid, signal.SIGKILL)

        async def again() -> bool:
            return (await ask(running)).status_code == 200

        await until(again, "another worker")
        for answer in answers:
            assert recorded(directory, answer.headers["x-headrace-exchange"]).keys() & {"decision", "forwarded"}
        (note,) = [entry.line.record for entry in entries(directory, Wanted(kinds=frozenset({"recovered"})))]
        assert note["how"] == "recovered"
    assert problems_of(verified(directory)) == []


def worker_of(directory: Path) -> int:
    (entry,) = [line for line in (directory / "manifest.jsonl").read_text().splitlines() if '"opened"' in line]
    return int(entry.partition('"pid":')[2].partition(",")[0])


async def test_while_there_is_no_room_requests_are_refused_and_cost_nothing(master: Path, directory: Path) -> None:
    """The limit is reached by a file that somebody put beside the log's own."""
    small = quick(master).replace("wait_ms: 20000", "wait_ms: 200, segment_mb: 1, max_disk_mb: 2")
    async with served(policy=small) as running:

        async def taken() -> bool:
            return (await ask(running)).status_code == 200

        await until(taken, "a first answer")
        chain = next((directory / "chains").iterdir())
        ballast = chain / "ballast"
        with ballast.open("wb") as file:
            file.truncate(3_000_000)

        async def refused() -> bool:
            answer = await ask(running, "x" * 100_000)
            return answer.status_code == 503 and "audit.unavailable" in answer.text

        await until(refused, "a refusal")
        ballast.unlink()

        await until(taken, "room again")
    assert problems_of(verified(directory)) == []
    assert any(entry.line.kind == "dropped" for entry in entries(directory))
