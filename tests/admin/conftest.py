"""The admin API in this process, over a store in memory, with a clock that stands still."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from headrace.ext_proc.admin.app import PREFIX, api
from headrace.ext_proc.admin.below import Below
from headrace.ext_proc.admin.operation import Site
from headrace.ext_proc.admin.tokens import ROSTER, FreshToken, Role, fresh_token
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.stores.memory import MemoryStore
from tests.filters.identity.support import NOON, PEPPER

POLICY = """version: 1
models:
  - {name: llama, price: {input: 1, output: 2}}
identity:
  - api_keys: {store: true}
budgets:
  - {name: team-month, per: [team], limit: {usd: 500}, window: month}
  - {name: user-day, per: [team, user], limit: {tokens: 1000}, window: day}
  - {name: busy, per: [team], limit: {tokens: 1000}, window: {sliding: 3600}}
filters:
  - identity: {}
  - budget: {}
"""

Answered = tuple[int, dict[str, Any]]


@dataclass
class Api:
    """A client of the API. Each role has a token of a holder of that name."""

    store: Store
    policy: Path
    now: datetime = NOON
    tokens: dict[str, str] = field(default_factory=dict)

    deeds: list[Mapping[str, str]] = field(default_factory=list)
    """What was told of changes."""

    def __post_init__(self) -> None:
        site = Site(self.store, self.policy, lambda: self.now, self._told)
        app = Starlette(routes=[Below(PREFIX, api(site))])
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self.client = httpx.AsyncClient(transport=transport, base_url=f"http://admin{PREFIX}")

    async def _told(self, deed: Mapping[str, str]) -> None:
        self.deeds.append(deed)

    async def token(self, *roles: Role, holder: str, days: int = 1) -> FreshToken:
        fresh = fresh_token(holder, roles, self.now, self.now + timedelta(days=days), "root")
        await self.store.enrol(ROSTER, fresh.record.id, fresh.record.packed())
        return fresh

    async def as_(self, who: str, *roles: Role) -> Mapping[str, str]:
        """The header of a token of this holder, who is of that role unless others are given."""
        if who not in self.tokens:
            self.tokens[who] = (await self.token(*(roles or (Role(who),)), holder=who)).secret
        return {"authorization": f"Bearer {self.tokens[who]}"}

    async def get(self, path: str, who: str = "viewer", **query: Any) -> dict[str, Any]:
        """The answer, which is a success."""
        found = await self.client.get(path, headers=await self.as_(who), params=query)
        assert found.status_code == 200, found.text
        return dict(found.json())

    async def post(self, path: str, body: Any = None, who: str = "operator") -> Answered:
        found = await self.client.post(path, headers=await self.as_(who), json=body)
        return found.status_code, found.json()

    async def done(self, path: str, body: Any = None, who: str = "operator") -> dict[str, Any]:
        """The answer, which is a success."""
        status, answer = await self.post(path, body, who)
        assert status in (200, 201), answer
        return answer


def code_of(answered: Answered) -> tuple[int, str]:
    status, answer = answered
    return status, answer["error"]["code"]


def problems_of(answered: Answered) -> Sequence[str]:
    assert code_of(answered) == (400, "request.invalid"), answered
    return [problem["where"] for problem in answered[1]["error"]["problems"]]


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HEADRACE_PEPPER", raising=False)
    (tmp_path / "headrace.pepper").write_text(PEPPER)
    path = tmp_path / "policy.yaml"
    path.write_text(POLICY)
    return path


@pytest.fixture
async def on(policy: Path) -> AsyncIterator[Api]:
    served = Api(MemoryStore(), policy)
    async with served.client:
        yield served
