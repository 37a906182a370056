"""The service behind real Envoy: workers that are killed, signals, metrics, traces."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx
import pytest

from headrace.ext_proc.service.names import FORK_SERVER, WORKER
from headrace.ext_proc.telemetry import metrics
from tests.e2e.served import HEADRACE, POLICY, Served, served
from tests.service.waiting import children, lives, name, until, workers_of
from tests.telemetry.records import PARENT
from tests.telemetry.test_tracing import Sink, collector
from tests.transports import ON_BOTH

pytestmark = pytest.mark.e2e


def succeeds(running: Served) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return (await running.chat()).status_code == 200

    return ask


@ON_BOTH
async def test_a_killed_worker_is_replaced_and_requests_go_on() -> None:
    async with served(workers=2) as running:
        before = workers_of(running.process.pid)
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: len(set(workers_of(running.process.pid)) - set(before)) == 1, "another worker was started")
        await until(_ready(running), "every worker was ready")
        await until(succeeds(running), "requests were answered")
        assert before[1] in workers_of(running.process.pid)
        assert 'headrace_worker_restarts_total{worker="0"} 1.0' in await running.metrics()


def _ready(running: Served) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        return (await running.admin.get("/readyz")).status_code == 200

    return ask


@ON_BOTH
async def test_sigterm_lets_a_running_stream_go_on_to_its_end() -> None:
    async with served() as running:
        async with running.stream("tokens=40 pace=50") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            running.signal(signal.SIGTERM)
            rest = [line async for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert await running.process.wait() == 0
        (decision,) = running.records("decision")
        (settlement,) = running.records("settlement")
        (entry,) = running.pool.books.entries
        assert decision["outcome"] == "completed"
        assert settlement["outcome"] == "settled"
        assert settlement["usage"]["output_tokens"] == entry.completion_tokens == 40


async def test_an_unready_service_is_known_as_such_while_it_drains() -> None:
    async with served() as running, running.stream("tokens=2 stall=1") as answer:
        await anext(answer.aiter_lines())
        running.signal(signal.SIGTERM)
        await until(_draining(running), "it said that it drains")
        assert (await running.admin.get("/healthz")).status_code == 200


def _draining(running: Served) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        ready = await running.admin.get("/readyz")
        return ready.status_code == 503 and bool(ready.json()["draining"])

    return ask


@ON_BOTH
async def test_a_second_signal_ends_at_once_and_leaves_no_process() -> None:
    async with served() as running:
        pids = children(running.process.pid)
        with pytest.raises(httpx.HTTPError):
            async with running.stream("tokens=9 stall=3") as answer:
                lines = answer.aiter_lines()
                await anext(lines)
                running.signal(signal.SIGTERM)
                await until(_draining(running), "it said that it drains")
                running.signal(signal.SIGTERM)
                async for _ in lines:
                    pass
        assert await running.process.wait() == 1
        await until(lambda: not any(map(lives, pids)), "every process ended")


@ON_BOTH
async def test_streams_that_outlast_drain_seconds_are_cut_off() -> None:
    async with served("--drain-seconds", "0.1") as running:
        with pytest.raises(httpx.HTTPError):
            async with running.stream("tokens=9 stall=3") as answer:
                lines = answer.aiter_lines()
                await anext(lines)
                running.signal(signal.SIGTERM)
                async for _ in lines:
                    pass
        assert await running.process.wait() == 0


async def test_the_supervisor_alone_hears_signals_that_every_process_is_sent() -> None:
    """systemd sends SIGTERM to all processes of a service, and `pkill -HUP headrace` SIGHUP."""
    async with served("--drain-seconds", "0.1", workers=2) as running:
        service = [running.process.pid, *(pid for pid in children(running.process.pid) if name(pid) in (WORKER, FORK_SERVER))]
        assert len(service) == 4
        async with running.stream("tokens=9 stall=3") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            _send(service[1:], signal.SIGTERM)
            _send(service, signal.SIGHUP)
            assert (await running.chat()).status_code == 200
            assert [pid for pid in service if not lives(pid)] == []
            _send(service[1:], signal.SIGTERM)
            _send(service[:1], signal.SIGTERM)
            with pytest.raises(httpx.HTTPError):
                async for _ in lines:
                    pass
        assert await running.process.wait() == 0
        await until(lambda: not any(map(lives, service)), "every process ended")


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


async def test_a_supervisor_that_is_killed_leaves_no_process() -> None:
    async with served(workers=2) as running:
        pids = children(running.process.pid)
        assert len(pids) >= 3  # two workers, Valkey and its watcher
        running.signal(signal.SIGKILL)
        await until(lambda: not any(map(lives, pids)), "every process ended")


NOT_YET = {metrics.BUDGET_WARNINGS, metrics.PII_FINDINGS, metrics.PII_UNDECLARED}
NOT_YET |= {metrics.FAILOVERS, metrics.CANDIDATE_EXCHANGES, metrics.CANDIDATE_CHANGES, metrics.AUDIT_COMMIT}
NOT_YET |= {metrics.CERTIFICATE_REFUSED, metrics.CERTIFICATE_NOT_BEFORE, metrics.CERTIFICATE_NOT_AFTER}
"""What an ordinary call without TLS does not count."""


async def test_every_metric_is_there_after_one_streamed_call() -> None:
    async with served() as running:
        async with running.stream("tokens=4") as answer:
            await answer.aread()
        body = {"model": "llama-3.3-70b", "messages": [], "stream": True, "stream_options": {"include_usage": True}}
        await running.client.post("/v1/chat/completions", json=body)

        async def settled() -> bool:
            found = await running.metrics()
            return 'outcome="settled"} 2.0' in found and "gen_ai_client_operation_time_to_first_chunk_seconds_count" in found

        await until(settled, "both calls were settled")
        found = await running.metrics()
        for family in set(metrics.FAMILIES) - NOT_YET:
            assert any(line.startswith(family.name) for line in found.splitlines()), family.name
        assert 'headrace_tokens_total{kind="output",model="llama-3.3-70b"} 20.0' in found


async def test_a_call_is_a_span_of_its_caller_s_trace() -> None:
    sink = Sink()
    async with collector(sink) as url, served("--otlp", url) as running:
        async with running.stream("tokens=4", traceparent=PARENT) as answer:
            await answer.aread()
        await until(lambda: bool(sink.requests), "the span arrived")
    (span,) = sink.requests[0].resource_spans[0].scope_spans[0].spans
    attributes = {attribute.key: attribute.value for attribute in span.attributes}
    assert f"00-{span.trace_id.hex()}-{span.parent_span_id.hex()}-01" == PARENT
    assert span.name == "chat llama-3.3-70b"
    assert attributes["gen_ai.usage.output_tokens"].int_value == 4
    assert attributes["headrace.exchange"].string_value == answer.headers["x-headrace-exchange"]


async def test_a_settlement_from_the_access_log_joins_the_caller_s_trace_too() -> None:
    sink = Sink()
    policy = POLICY.replace("remove", "keep")
    async with collector(sink) as url, served("--otlp", url, policy=policy) as running:
        async with running.stream("tokens=4", traceparent=PARENT) as answer:
            await answer.aread()
        await until(lambda: bool(sink.requests), "the span arrived")
    (span,) = sink.requests[0].resource_spans[0].scope_spans[0].spans
    assert f"00-{span.trace_id.hex()}-{span.parent_span_id.hex()}-01" == PARENT


async def test_sighup_opens_the_decision_log_anew() -> None:
    async with served() as running:
        await running.chat()
        await until(lambda: len(running.records("settlement")) == 1, "the first call was settled")
        moved = _moved(running.folder / "decisions.jsonl")
        running.signal(signal.SIGHUP)
        await until((running.folder / "decisions.jsonl").exists, "the new log was there")
        answer = await running.chat()
        await until(lambda: len(running.records("settlement")) == 1, "the second call was settled")
        assert running.records("settlement")[0]["exchange"] == answer.headers["x-headrace-exchange"]
        assert answer.headers["x-headrace-exchange"] not in _read(moved)


def _moved(path: Path) -> Path:
    return path.rename(path.with_suffix(".1"))


def _read(path: Path) -> str:
    return path.read_text()


async def run(*arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(*HEADRACE, *arguments, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    return process.returncode, errors.decode()


async def test_a_policy_that_cannot_be_used_is_said_line_by_line(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("policy") / "policy.yaml"
    _write(path, "version: 1\nmodel: []\n")
    status, errors = await run("serve", str(path), "--listen", "127.0.0.1:0", "--admin", "off", "--log-level", "error")
    assert status == 1
    assert errors == f"{path}:2: model: unknown key; did you mean 'models'?\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text)
