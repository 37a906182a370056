"""The console in this process, over a store in memory, a decision log that tests write, and a clock that stands still."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from headrace.ext_proc.admin.below import Below
from headrace.ext_proc.admin.console.app import application
from headrace.ext_proc.admin.console.counts import Counts
from headrace.ext_proc.admin.console.decision_file import DecisionFile
from headrace.ext_proc.admin.console.forms import Words
from headrace.ext_proc.admin.console.frame import PREFIX, Console, WorkerState
from headrace.ext_proc.admin.console.log import DecisionSource
from headrace.ext_proc.admin.console.revisions import Revisions
from headrace.ext_proc.admin.console.workshop import Workshop
from headrace.ext_proc.admin.operation import Site
from headrace.ext_proc.admin.tokens import ROSTER, FreshToken, Role, fresh_token
from headrace.ext_proc.engine.load.board import Heard
from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.ext_proc.telemetry.exposition import Key
from tests.admin.conftest import POLICY
from tests.filters.identity.support import NOON, PEPPER


@dataclass
class Around:
    """A service of one worker. secure: as over TLS."""

    site: Site
    gateway: Gateway = Gateway.ENVOY
    secure: bool = False
    decisions: DecisionSource | None = None
    states: list[WorkerState] = field(default_factory=lambda: [WorkerState(0, ready=True, restarts=0, revision="0123456789ab")])

    heard: dict[str, Heard | None] = field(default_factory=dict)

    def servers(self) -> Mapping[str, Heard | None]:
        return self.heard

    def workers(self) -> list[WorkerState]:
        return self.states


class Pages:
    """A browser without a screen: it keeps cookies and follows nothing by itself."""

    def __init__(self, directory: Path) -> None:
        self.now: datetime = NOON
        self.store = MemoryStore()
        self.policy = directory / "policy.yaml"
        self.log = directory / "decisions.jsonl"
        self.counted: dict[Key, float] = {}
        self.around = Around(Site(self.store, self.policy, lambda: self.now), decisions=DecisionFile(self.log))
        self.revisions, self.workshop = Revisions(self.store, self.policy), Workshop()
        self.counts = Counts(lambda: self.counted, lambda: self.now)
        self.console = Console(self.around, self.counts, self.revisions, self.workshop, Words(b"a secret of this process"))
        app = Starlette(routes=[Below(PREFIX, application(self.console))])
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        self.client = self.browser()

    def browser(self) -> httpx.AsyncClient:
        """Another one, without cookies."""
        return httpx.AsyncClient(transport=self._transport, base_url="http://admin")

    async def token(self, *roles: Role, holder: str = "", days: int = 1) -> FreshToken:
        fresh = fresh_token(holder or roles[0].value, roles, self.now, self.now + timedelta(days=days), "root")
        await self.store.enrol(ROSTER, fresh.record.id, fresh.record.packed())
        return fresh

    async def log_in(self, *roles: Role, holder: str = "") -> FreshToken:
        fresh = await self.token(*roles, holder=holder)
        answer = await self.try_token(fresh.secret)
        assert answer.status_code == 303, answer.text
        return fresh

    async def try_token(self, secret: str, next: str = "") -> httpx.Response:
        page = await self.get("/login")
        return await self.send("/login", {"csrf": word(page), "token": secret, "next": next})

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(f"{PREFIX}{path}", headers={name.replace("_", "-"): value for name, value in headers.items()})

    async def send(self, path: str, fields: Mapping[str, str], **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(f"{PREFIX}{path}", data=dict(fields), headers=named)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """A form of a page that is open."""
        return await self.send(path, {"csrf": word(await self.get("/budgets")), **fields})

    def decided(self, *records: Mapping[str, Any]) -> None:
        """Written to the decision log."""
        with self.log.open("a") as file:
            file.writelines(json.dumps(record, separators=(",", ":")) + "\n" for record in records)


def word(page: httpx.Response) -> str:
    """What proves that a form is of the page."""
    found = re.search(r'name="csrf" value="([0-9a-f]{64})"', page.text)
    assert found, page.text
    return found[1]


def decision(exchange: str, **members: Any) -> dict[str, Any]:
    """A record as a worker writes it."""
    step = {"filter": "identity", "phase": "headers", "outcome": "continue", "reason": "auth.key", "us": 12.5}
    return {
        "time": "2026-11-20T12:00:00.000+00:00", "kind": "decision", "exchange": exchange, "revision": "0123456789ab",
        "model": "llama", "principal": {"organisation": "default", "team": "research", "user": "ann"}, "outcome": "handed_off",
        "metadata": {"route": "standard", "reason": "routing.first_pool"}, "steps": [step], "elapsed_us": 400.0,
    } | members  # fmt: skip


@pytest.fixture
async def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pages]:
    monkeypatch.delenv("HEADRACE_PEPPER", raising=False)
    (tmp_path / "headrace.pepper").write_text(PEPPER)
    (tmp_path / "policy.yaml").write_text(POLICY)
    made = Pages(tmp_path)
    made.log.touch()
    async with made.client:
        yield made
    await made.revisions.close()
    await made.workshop.close()
