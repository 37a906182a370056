"""A worker whose supervisor was killed: it serves nobody any more, and pays what it owes before it ends."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.chaos import ORGANISATION, POLICY, WATCHED, open_leases
from tests.e2e.fleet import CAP, Fleet, fleet
from tests.e2e.site import CHAT, MODEL
from tests.service.waiting import children, lives, until
from tests.stores.servers import PLAIN, Server, free_ports

pytestmark = pytest.mark.e2e

GENERATED = 3
"""Tokens before the pool stalls."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "valkey", free_ports(1)[0], *PLAIN)
    server.start()
    yield server
    server.kill()


async def stalled_stream(running: Fleet) -> None:
    """Of somebody whose streams pass through the service; ends when it is cut off."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "max_tokens": CAP, "stream": True}
    headers = {"x-org": ORGANISATION, "x-team": "research", "x-user": WATCHED, "x-key-id": "1"}
    with contextlib.suppress(httpx.HTTPError):
        await running.client.post(CHAT, json=body, headers=headers | {"x-simulate": f"tokens=9 stall={GENERATED}"})


def recorded(audit: Path) -> list[str]:
    """Kinds of records, in the order of the only chain."""
    lines = [line for file in sorted(audit.glob("chains/*/*.jsonl")) for line in file.read_text().splitlines()]
    return [json.loads(line)["kind"] for line in lines]


async def test_what_a_killed_supervisors_workers_had_under_way_is_settled_and_recorded(store: Server, tmp_path: Path) -> None:
    policy = POLICY | {"audit": {"directory": str(tmp_path / "audit"), "wait_ms": 30_000}}
    async with fleet(f"redis://127.0.0.1:{store.port}", policy, workers=1) as running:
        processes = children(running.supervisor.pid)
        asking = asyncio.create_task(stalled_stream(running))
        await running.pool.books.until(lambda books: any(entry.completion_tokens == GENERATED for entry in books.entries))
        assert len(open_leases(store, ORGANISATION)) == 1
        running.supervisor.kill()
        await until(lambda: not any(map(lives, processes)), "the worker ended, and what it was forked from")
        assert open_leases(store, ORGANISATION) == []
        (entry,) = await running.ledger(ORGANISATION)
        assert entry.members["outcome"] == "settled"
        assert int(entry.members["output_tokens"]) <= GENERATED
        assert {"decision", "settlement"} <= {*recorded(tmp_path / "audit")}
        assert "closed" in recorded(tmp_path / "audit")[-2:], "the chain has its end"
        await asking
