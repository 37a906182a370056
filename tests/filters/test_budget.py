"""The budget filter in a chain, from the policy's list to what the store holds when the exchange has ended."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Cause, Effect, Record, Release, Settle
from headrace.ext_proc.core.events import Answer, Proceed, Refuse, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.ledger import Charge, Fixed, Sliding, Unit, Window
from headrace.ext_proc.core.needs import Capability, Needs
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.principal import PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Choice, Filter, Link, Session
from headrace.ext_proc.core.usage import Usage
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
from headrace.ext_proc.stores import open_store
from headrace.ext_proc.stores.embedded import EmbeddedStore
from headrace.filters.budget import BudgetFilter, BudgetSettings
from headrace.filters.budget.words import quantity, ratelimit
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
    refuse_other_paths: bool = False


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
    principal: Principal = ANN
    later: Sequence[Filter] = ()
    capabilities: Capability = Capability.ACCESS_LOG
    problems: list[tuple[Any, str]] = field(default_factory=list)
    exchanges: int = 0

    def chain(self) -> Chain:
        filters = [{"budget": self.settings}, {"usage": self.usage}]
        document = PolicyDocument.model_validate(
            {"version": 1, "budgets": self.budgets, "models": self.models, "filters": filters}
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
        await runner.start()
        runner.submit(effects)
        await runner.drain(10)
        return records

    async def used(self, counter: str, unit: Unit = "tokens", window: Window = DAY, organisation: str = "acme") -> int:
        charge = Charge(counter, unit, 0, 0, window)
        return (await self.store.read(organisation, [charge], now_ms=self.clock.at_ms))[0]


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    offload = ThreadOffload(1)
    yield Rig(open_store("memory://"), offload)
    offload.close()


def money(effects: Sequence[Effect]) -> list[Effect]:
    return [effect for effect in effects if not isinstance(effect, Record)]


def error_of(answer: Answer) -> dict[str, Any]:
    assert isinstance(answer, Refuse)
    return dict(json.loads(answer.body)["error"])


async def test_the_prompt_and_the_whole_answer_are_reserved_on_every_budget(rig: Rig) -> None:
    rig.budgets = [
        TOKENS_A_DAY,
        {"name": "team-day", "per": ["team"], "limit": {"usd": 0.5}, "window": "day"},
        {"name": "rate", "per": ["organisation"], "limit": {"requests": 10}, "window": {"sliding": 60}},
    ]
    _, answer = await rig.ask({**BODY, "n": 3})
    assert isinstance(answer, Proceed) and answer.last
    assert await rig.used("user-day:research/ann") == PROMPT + 3 * 92
    assert await rig.used("team-day:research", "nano_usd") == PROMPT * 1_000 + 3 * 92 * 2_000
    assert await rig.used("rate:acme", "requests", Sliding(60_000)) == 1


async def test_a_request_without_a_cap_reserves_the_models_own(rig: Rig) -> None:
    await rig.ask({"model": "gpt-x", "messages": BODY["messages"]})
    assert await rig.used("user-day:research/ann") == PROMPT + 50


async def test_the_access_log_is_told_what_it_takes_to_settle(rig: Rig) -> None:
    _, answer = await rig.ask()
    assert isinstance(answer, Proceed)
    told = {key: value for key, value in answer.metadata.items() if not key.startswith("ratelimit")}
    assert told == {
        "exchange": "x1",
        "lease": "x1",
        "organisation": "acme",
        "model": "gpt-x",
        "endpoint": "chat",
        "stream": 0,
        "price_input": "1",
        "price_output": "2",
        "price_revision": "policy",
        "settle": "access_log",
    }


async def test_the_callers_headers_show_the_tightest_budget_of_each_unit(rig: Rig) -> None:
    rig.budgets = [
        TOKENS_A_DAY,
        {"name": "minute", "per": ["team"], "limit": {"tokens": 150}, "window": "minute"},
        {"name": "rate", "per": ["team"], "limit": {"requests": 10}, "window": {"sliding": 3600}},
    ]
    rig.clock.at_ms += 1_000
    _, answer = await rig.ask()
    assert isinstance(answer, Proceed)
    assert {key: value for key, value in answer.metadata.items() if key.startswith("ratelimit")} == {
        "ratelimit_limit_tokens": "150",
        "ratelimit_remaining_tokens": "50",
        "ratelimit_reset_tokens": "59s",
        "ratelimit_limit_requests": "10",
        "ratelimit_remaining_requests": "9",
        "ratelimit_reset_requests": "1h0m0s",
    }


async def test_an_exhausted_budget_refuses_and_says_which_and_until_when(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 150}}]
    await rig.ask()
    exchange, answer = await rig.ask()
    assert isinstance(answer, Refuse) and answer.status == 429
    assert error_of(answer) == {
        "message": "The budget 'user-day' allows 150 tokens per day; 50 tokens left, and this request needs up to 100 tokens. "
        "Try again at 2026-11-19T00:00:00Z.",
        "type": "rate_limit_error",
        "param": None,
        "code": "budget.exhausted",
    }
    assert answer.headers["retry-after"] == str((DAY.end_ms - NOW) // 1000)
    assert answer.headers["x-should-retry"] == "false"  # an SDK would sleep for hours
    assert answer.headers["x-ratelimit-remaining-tokens"] == "50"
    assert money(exchange.close()) == []
    assert await rig.used("user-day:research/ann") == 100


async def test_a_wait_of_a_minute_is_left_to_the_callers_sdk(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 150}, "window": "minute"}]
    await rig.ask()
    rig.clock.at_ms += 1
    _, answer = await rig.ask()
    assert isinstance(answer, Refuse)
    assert answer.headers["retry-after"] == "60" and "x-should-retry" not in answer.headers
    rig.clock.at_ms = MINUTE.end_ms
    _, answer = await rig.ask()
    assert isinstance(answer, Proceed)


async def test_a_request_that_no_window_could_hold_is_told_so(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 99}}]
    _, answer = await rig.ask()
    assert isinstance(answer, Refuse) and answer.status == 429
    assert error_of(answer)["message"] == (
        "The budget 'user-day' allows 99 tokens per day at all, and this request needs up to 100 tokens. "
        "Shorten the prompt or ask for a shorter answer."
    )
    assert answer.headers["x-should-retry"] == "false" and "retry-after" not in answer.headers


async def test_a_refusal_is_in_the_callers_dialect(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 10}}]
    _, answer = await rig.ask(BODY, "/v1/messages")
    assert isinstance(answer, Refuse)
    document = json.loads(answer.body)
    assert document["type"] == "error"
    assert document["error"]["type"] == "rate_limit_error" and document["error"]["code"] == "budget.exhausted"


@pytest.mark.parametrize("unit", ["usd", "tokens"])
async def test_an_amount_beyond_counting_is_refused_not_an_error(rig: Rig, unit: str) -> None:
    rig.models = [{**PRICED, "price": {"input": 1_000_000, "output": 1_000_000}}]
    rig.budgets = [TOKENS_A_DAY | {"limit": {unit: 9_000_000}}]
    _, answer = await rig.ask({**BODY, "max_tokens": 2**31, "n": 128})
    assert error_of(answer)["code"] == "budget.exhausted"


async def test_fifty_at_once_against_a_budget_worth_seven_are_seven() -> None:
    offload = ThreadOffload(1)
    with EmbeddedStore() as url:
        store = open_store(url)
        rig = Rig(store, offload, budgets=[TOKENS_A_DAY | {"limit": {"tokens": 7 * 100 + 99}}])
        answers = [answer for _, answer in await asyncio.gather(*(rig.ask() for _ in range(50)))]
        assert sum(isinstance(answer, Proceed) for answer in answers) == 7
        assert await rig.used("user-day:research/ann") == 700
        await store.close()
    offload.close()


async def test_counters_belong_to_those_the_budget_names(rig: Rig) -> None:
    rig.budgets = [
        {"name": "b", "per": ["user"], "limit": {"tokens": 1000}, "window": "day"},
        {"name": "m", "per": ["model"], "limit": {"tokens": 1000}, "window": "day"},
        {"name": "both", "per": ["team", "user"], "limit": {"tokens": 1000}, "window": "day"},
    ]
    rig.models = [{**PRICED, "name": "gpt-*"}]
    for principal in (
        ANN,
        Principal("acme", team="research", user="bob"),
        Principal("other", team="research", user="ann"),
        Principal("acme", team="research/ann"),
        Principal("acme", team="research", user=None),
        Principal("acme", team=None, user=None),
    ):
        rig.principal = principal
        await rig.ask({**BODY, "model": f"gpt-{rig.exchanges}"})
    assert await rig.used("b:ann") == 100 and await rig.used("b:ann", organisation="other") == 100
    assert await rig.used("b:") == 300  # callers without a user share one counter
    assert await rig.used("m:gpt-%2A") == 500  # the catalogue's entry, not what the client chose to call it
    assert await rig.used("both:research/ann") == 100
    assert await rig.used("both:research%2Fann/") == 100 and await rig.used("both:research/") == 100


async def test_a_later_refusal_gives_back_what_was_reserved(rig: Rig) -> None:
    rig.later = [Refusing("request")]
    exchange, answer = await rig.ask()
    assert isinstance(answer, Refuse) and await rig.used("user-day:research/ann") == 100
    (release,) = money(effects := exchange.close())
    assert isinstance(release, Release) and (release.organisation, release.lease) == ("acme", "x1")
    await rig.carry_out(effects)
    assert await rig.used("user-day:research/ann") == 0


async def test_a_client_that_leaves_before_the_request_went_out_gets_it_back(rig: Rig) -> None:
    held = asyncio.Event()

    class Slow(Session):
        def open(self, request: Request) -> Session:
            return self

        async def on_request(self, request: Request) -> Verdict:
            held.set()
            await asyncio.Event().wait()
            return Continue()

    rig.later = [Slow()]
    exchange = rig.exchange()
    await rig.send(exchange, RequestHeaders(Headers([(":method", "POST"), (":path", "/v1/chat/completions")])))
    waiting = asyncio.ensure_future(rig.send(exchange, RequestBody(json.dumps(BODY).encode())))
    await held.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await rig.carry_out(exchange.close(Cause.ABORTED))
    assert await rig.used("user-day:research/ann") == 0


async def test_what_the_access_log_settles_is_left_to_it(rig: Rig) -> None:
    exchange, _ = await rig.ask()
    assert money(exchange.close(Cause.HANDED_OFF)) == []


JSON = Headers([("content-type", "application/json")])
SSE = Headers([("content-type", "text/event-stream")])


async def test_an_answer_that_was_read_here_is_settled_by_its_usage(rig: Rig) -> None:
    rig.capabilities = Capability.NOTHING
    rig.budgets = [TOKENS_A_DAY, {"name": "cost", "per": ["team"], "limit": {"usd": 1}, "window": "day"}]
    exchange, answer = await rig.ask()
    assert isinstance(answer, Proceed) and answer.metadata["settle"] == "stream"
    await rig.send(exchange, ResponseHeaders(200, JSON))
    await rig.send(exchange, ResponseBody(json.dumps({"usage": USAGE}).encode(), end=True))
    effects = exchange.close()
    (settle,) = money(effects)
    assert isinstance(settle, Settle) and settle.usage == Usage(8, 5)
    (record,) = [record for record in await rig.carry_out(effects) if record.kind == "settlement"]
    assert record.members["outcome"] == "settled" and record.members["usd"] == "0.000018"
    assert record.members["model"] == "gpt-x" and record.members["status"] == 200
    assert await rig.used("user-day:research/ann") == 13
    assert await rig.used("cost:research", "nano_usd") == 8 * 1_000 + 5 * 2_000


@pytest.mark.parametrize(("status", "from_upstream"), [(500, True), (400, True), (503, False)])
async def test_an_answer_that_is_an_error_costs_nothing(rig: Rig, status: int, from_upstream: bool) -> None:
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask()
    await rig.send(exchange, ResponseHeaders(status, JSON, end=True, from_upstream=from_upstream))
    await rig.carry_out(exchange.close())
    assert await rig.used("user-day:research/ann") == 0


async def test_an_answer_without_usage_stands_at_what_was_reserved(rig: Rig) -> None:
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask()
    await rig.send(exchange, ResponseHeaders(200, JSON))
    await rig.send(exchange, ResponseBody(b"{}", end=True))
    records = await rig.carry_out(exchange.close())
    assert "kept" in [record.members["outcome"] for record in records]
    assert await rig.used("user-day:research/ann") == 100


async def test_an_answer_that_a_later_filter_refuses_is_paid_for(rig: Rig) -> None:
    rig.later = [Refusing("response")]
    exchange, _ = await rig.ask()
    await rig.send(exchange, ResponseHeaders(200, JSON))
    answer = await rig.send(exchange, ResponseBody(json.dumps({"usage": USAGE}).encode(), end=True))
    assert isinstance(answer, Refuse)
    await rig.carry_out(exchange.close())
    assert await rig.used("user-day:research/ann") == 13


def chunk(text: str) -> bytes:
    return b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"


@pytest.mark.parametrize(("on_hang_up", "used"), [("reserved", 100), ("count", PROMPT + 3)])
async def test_a_stream_that_was_hung_up_on_costs_what_the_policy_says(rig: Rig, on_hang_up: str, used: int) -> None:
    rig.usage = {"on_hang_up": on_hang_up}
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True})
    await rig.send(exchange, ResponseHeaders(200, SSE))
    await rig.send(exchange, ResponseBody(chunk("one two") + chunk(" three") + b"data: {"))
    await rig.carry_out(exchange.close(Cause.ABORTED))
    assert await rig.used("user-day:research/ann") == used


@pytest.mark.parametrize(("on_hang_up", "used"), [("reserved", 100), ("count", 9 + 3)])
async def test_the_usage_that_anthropic_reports_first_is_not_taken_for_the_sum(rig: Rig, on_hang_up: str, used: int) -> None:
    rig.usage = {"on_hang_up": on_hang_up}
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True}, "/v1/messages")
    await rig.send(exchange, ResponseHeaders(200, SSE))
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "one two three"}}
    events = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in (start, delta))
    await rig.send(exchange, ResponseBody(events))
    held = await rig.used("user-day:research/ann")
    await rig.carry_out(exchange.close(Cause.ABORTED))
    assert await rig.used("user-day:research/ann") == (held if on_hang_up == "reserved" else used)


async def test_a_stream_that_reports_its_usage_is_settled_by_it(rig: Rig) -> None:
    rig.capabilities = Capability.NOTHING
    exchange, _ = await rig.ask({**BODY, "stream": True})
    await rig.send(exchange, ResponseHeaders(200, SSE))
    usage = b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode() + b"\n\n"
    await rig.send(exchange, ResponseBody(chunk("one two") + usage + b"data: [DONE]\n\n"))
    await rig.carry_out(exchange.close(Cause.ABORTED))
    assert await rig.used("user-day:research/ann") == 13


async def test_while_the_store_is_down_requests_are_refused(rig: Rig) -> None:
    await rig.store.close()
    exchange, answer = await rig.ask()
    assert isinstance(answer, Refuse) and answer.status == 503
    assert error_of(answer)["code"] == "budget.unavailable" and answer.headers["retry-after"] == "1"
    assert [type(effect) for effect in money(exchange.close())] == [Release]  # the store may have it all the same


async def test_while_the_store_is_down_requests_go_on_where_the_policy_says_so(rig: Rig) -> None:
    rig.settings = {"on_store_down": "open"}
    await rig.store.close()
    exchange, answer = await rig.ask()
    assert isinstance(answer, Proceed) and answer.last
    assert answer.metadata["lease"] == "x1"  # if the store took it all the same, it is settled
    assert money(exchange.close()) == []
    record = exchange.decision.steps[-2]
    assert (record["filter"], record["reason"]) == ("budget", "budget.unavailable")


async def test_a_reservation_whose_reply_never_came_is_given_back(rig: Rig) -> None:
    class Deaf:
        """Takes the reservation, and never says so."""

        def __init__(self, store: Store) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def reserve(self, *args: Any, **named: Any) -> None:
            await self._store.reserve(*args, **named)
            await asyncio.Event().wait()

    rig.settings = {"timeout_ms": 1}
    real = rig.store
    rig.store = Deaf(real)  # type: ignore[assignment]
    exchange, answer = await rig.ask()
    assert error_of(answer)["code"] == "budget.failed"
    assert await rig.used("user-day:research/ann") == 100
    await rig.carry_out(exchange.close())
    assert await rig.used("user-day:research/ann") == 0


async def test_in_shadow_mode_an_exhausted_budget_refuses_nobody(rig: Rig) -> None:
    rig.settings = {"mode": "shadow"}
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 150}}]
    await rig.ask()
    exchange, answer = await rig.ask()
    assert isinstance(answer, Proceed)
    step_of = next(step for step in exchange.decision.steps if step["filter"] == "budget" and step["phase"] == "request")
    assert (step_of["outcome"], step_of["reason"]) == ("would_reply", "budget.exhausted")


async def test_a_model_outside_the_catalogue_is_refused(rig: Rig) -> None:
    _, answer = await rig.ask({**BODY, "model": "gpt-y"})
    assert isinstance(answer, Refuse) and answer.status == 403 and error_of(answer)["code"] == "model.not_allowed"


async def test_a_model_without_a_price_is_not_charged_to_a_budget_of_money(rig: Rig) -> None:
    rig.models = [{"name": "in-house-*"}]
    rig.budgets = [TOKENS_A_DAY, TOKENS_A_DAY | {"name": "cost", "limit": {"usd": 5}}]
    _, answer = await rig.ask({**BODY, "model": "in-house-1"})
    assert isinstance(answer, Refuse) and answer.status == 403
    assert error_of(answer)["code"] == "budget.unpriced" and "'cost'" in error_of(answer)["message"]
    assert await rig.used("user-day:research/ann") == 0


async def test_a_price_that_cannot_be_known_is_found_when_the_policy_is_compiled(rig: Rig) -> None:
    rig.models = [PRICED, {"name": "in-house-1"}, {"name": "gpt-4o"}]
    rig.budgets = [TOKENS_A_DAY | {"limit": {"usd": 5}}]
    rig.chain()
    assert [where for where, _ in rig.problems] == [("models", 1, "price")]


async def test_money_beyond_exact_counting_is_found_when_the_policy_is_compiled(rig: Rig) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {"usd": 9_007_200}}, TOKENS_A_DAY | {"name": "b", "limit": {"usd": 9_007_199}}]
    rig.chain()
    assert rig.problems == [(("budgets", 0, "limit", "usd"), "must be at most 9,007,199 USD; split it over shorter windows")]


async def test_budgets_that_count_no_money_need_no_price(rig: Rig) -> None:
    rig.models = [{"name": "in-house-1"}]
    _, answer = await rig.ask({**BODY, "model": "in-house-1"})
    assert isinstance(answer, Proceed) and "price_input" not in answer.metadata
    assert rig.problems == []


@pytest.mark.parametrize(
    ("unit", "amount", "words"),
    [
        ("tokens", 0, "0 tokens"),
        ("requests", 1, "1 request"),
        ("tokens", 1_234_567, "1,234,567 tokens"),
        ("nano_usd", 0, "$0.00"),
        ("nano_usd", 4_200_000, "$0.0042"),
        ("nano_usd", 500_000_000_000, "$500.00"),
        ("nano_usd", 1_234_567_000_000_001, "$1,234,567.000000001"),
    ],
)
def test_quantities_in_words(unit: Unit, amount: int, words: str) -> None:
    assert quantity(unit, amount) == words


@pytest.mark.parametrize(
    ("ms", "written"), [(1, "1s"), (60_000, "1m0s"), (61_001, "1m2s"), (3_600_000, "1h0m0s"), (90_061_000, "25h1m1s")]
)
def test_a_reset_is_written_as_openai_does(ms: int, written: str) -> None:
    charge = Charge("c", "tokens", 5, 1, Fixed(0, ms))
    assert ratelimit([charge], [4], 0)["ratelimit_reset_tokens"] == written


