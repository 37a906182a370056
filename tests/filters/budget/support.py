"""The budget filter in a chain around one store, as the tests here drive it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headrace.ext_proc.core.effects import Effect, Record
from headrace.ext_proc.core.events import Answer, Refuse, RequestBody, RequestHeaders
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.ledger import Charge, Fixed, Unit, Window
from headrace.ext_proc.core.needs import Capability, Needs
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.principal import PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Choice, Filter, Link, Session
from headrace.ext_proc.core.verdict import Continue, Reply, Verdict
from headrace.ext_proc.engine.effects import EffectRunner
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.policy.chain import Fixed as Place
from headrace.ext_proc.engine.policy.chain import link_of
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.registry import Build, Ports
from headrace.ext_proc.engine.step import step
from headrace.filters.budget import BudgetFilter, BudgetSettings
from headrace.filters.usage import UsageFilter, UsageSettings

NOW = 1_795_000_020_000  # 2026-11-18T11:07:00Z
MINUTE = Fixed(NOW, NOW + 60_000)
DAY = Fixed(1_794_960_000_000, 1_795_046_400_000)
ANN = Principal(organisation="acme", team="research", user="ann")
PRICED = {"name": "gpt-x", "price": {"input": 1, "output": 2}, "max_output": 50}
TOKENS_A_DAY = {"name": "user-day", "per": ["team", "user"], "limit": {"tokens": 1000}, "window": "day"}
PROMPT = 8  # tokens of BODY: "hi", and seven of the chat formula
BODY = {"model": "gpt-x", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 92}
USAGE = {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13}
JSON = Headers([("content-type", "application/json")])
SSE = Headers([("content-type", "text/event-stream")])


class Clock:
    def __init__(self) -> None:
        self.at_ms = NOW

    def now_ms(self) -> int:
        return self.at_ms


class Known(Session):
    """Stands for the identity filter."""

    def __init__(self, principal: Principal) -> None:
        self.principal = principal

    def open(self, request: Request) -> Session:
        return self

    async def on_headers(self, request: Request) -> Verdict:
        return Continue(facts={PRINCIPAL: self.principal})


class Refusing(Session):
    """A later filter that refuses, the request or the answer."""

    def __init__(self, phase: str) -> None:
        self.phase = phase
        self.needs = Needs.RESPONSE_BODY if phase == "response" else Needs.NOTHING

    def open(self, request: Request) -> Session:
        return self

    async def on_request(self, request: Request) -> Verdict:
        return Reply(403, "test.refused", "No.") if self.phase == "request" else Continue()

    async def on_response(self, response: Any) -> Verdict:
        return Reply(502, "test.refused", "No.")


@dataclass
class Chain:
    chain: Sequence[Choice]
    revision: str = "r1"
    private_headers: Sequence[str] = ()

    def passes(self, method: str, path: str) -> bool:
        return True


@dataclass
class Rig:
    """A gateway's worth of policy around one store."""

    store: Store
    offload: ThreadOffload
    clock: Clock = field(default_factory=Clock)
    budgets: list[dict[str, Any]] = field(default_factory=lambda: [TOKENS_A_DAY])
    models: list[dict[str, Any]] = field(default_factory=lambda: [PRICED])
    settings: dict[str, Any] = field(default_factory=dict)
    usage: dict[str, Any] = field(default_factory=dict)
    document: dict[str, Any] = field(default_factory=dict)
    principal: Principal = ANN
    later: Sequence[Filter] = ()
    capabilities: Capability = Capability.ACCESS_LOG
    problems: list[tuple[Any, str]] = field(default_factory=list)
    exchanges: int = 0

    def chain(self) -> Chain:
        filters = [{"budget": self.settings}, {"usage": self.usage}]
        document = PolicyDocument.model_validate(
            {"version": 1, "budgets": self.budgets, "models": self.models, "filters": filters, **self.document}
        )
        ports = Ports(self.store, self.clock, self.offload)

        def problem(where: Any, message: str) -> None:
            self.problems.append((where, message))

        build = Build(document, Catalogue(document.models), Path(), ports, (), problem, set())
        settings = BudgetSettings(**self.settings)
        budget = link_of("budget", BudgetFilter(settings, build), settings)
        assert budget is not None
        links = [
            Link("identity", Known(self.principal)),
            budget,
            Link("usage", UsageFilter(UsageSettings(**self.usage), build)),
            *(Link("later", later) for later in self.later),
        ]
        return Chain([Place(link) for link in links])

    def exchange(self) -> Exchange:
        self.exchanges += 1
        return Exchange(f"x{self.exchanges}", self.chain(), shield, capabilities=self.capabilities)

    async def ask(self, body: dict[str, Any] | None = None, path: str = "/v1/chat/completions") -> tuple[Exchange, Answer]:
        """A request, and what becomes of it."""
        exchange = self.exchange()
        headers = Headers([(":method", "POST"), (":path", path), ("content-type", "application/json")])
        answer = await self.send(exchange, RequestHeaders(headers))
        if isinstance(answer, Refuse):
            return exchange, answer
        return exchange, await self.send(exchange, RequestBody(json.dumps(body or BODY).encode()))

    async def send(self, exchange: Exchange, event: Any) -> Answer:
        return await step(exchange, event, deadline=asyncio.get_running_loop().time() + 30)

    async def carry_out(self, effects: Sequence[Effect]) -> list[Record]:
        records: list[Record] = []
        runner = EffectRunner(self.store, self.clock, [records.append])
        runner.submit(effects)
        await runner.drain(10)
        return records

    async def used(self, counter: str, unit: Unit = "tokens", window: Window = DAY, organisation: str = "acme") -> int:
        charge = Charge(counter, unit, 0, 0, window)
        return (await self.store.read(organisation, [charge], now_ms=self.clock.at_ms))[0]


def money(effects: Sequence[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Record)]


def error_of(answer: Answer) -> dict[str, Any]:
    assert isinstance(answer, Refuse)
    return dict(json.loads(answer.body)["error"])


def chunk(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"
