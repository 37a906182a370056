"""Streams under `on_exhausted: cut`, and requests at once, from the request to what the counters hold."""

import json
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Cause, Settle
from headrace.ext_proc.core.events import Deliver, Proceed, Refuse, ResponseBody, ResponseHeaders
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.ledger import HELD
from headrace.ext_proc.core.usage import Usage
from tests.filters.budget.support import BODY, DAY, PRICED, PROMPT, SSE, TOKENS_A_DAY, Rig, chunk, error_of, money

STREAMED = {**BODY, "stream": True, "max_tokens": 500}
CUT = {"on_exhausted": "cut", "step_tokens": 32}
COUNTER = "user-day:research/ann"
AT_ONCE = {"name": "at-once", "per": ["user"], "limit": {"concurrency": 2}}


async def begun(rig: Rig, body: dict[str, Any] | None = None) -> Exchange:
    exchange, answer = await rig.ask(body or STREAMED)
    assert isinstance(answer, Proceed) and answer.metadata["settle"] == "stream" and not answer.last
    await rig.send(exchange, ResponseHeaders(200, SSE))
    return exchange


async def streamed(rig: Rig, exchange: Exchange, words: int) -> tuple[str, bool]:
    """Words one by one, until the stream is cut: the text that the caller got, and whether it was cut."""
    text = ""
    for _ in range(words):
        answer = await rig.send(exchange, ResponseBody(chunk(" water")))
        assert isinstance(answer, Deliver)
        text += answer.data.decode()
        if answer.end:
            return text, True
    return text, False


async def test_a_stream_is_reserved_step_by_step(rig: Rig) -> None:
    rig.settings = CUT
    exchange = await begun(rig)
    assert await rig.used(COUNTER) == PROMPT + 32
    await streamed(rig, exchange, 20)
    assert await rig.used(COUNTER) == PROMPT + 64
    reported = json.dumps({"choices": [], "usage": {"prompt_tokens": PROMPT, "completion_tokens": 20}})
    await rig.send(exchange, ResponseBody(f"data: {reported}\n\n".encode(), end=True))
    await rig.carry_out(exchange.close())
    assert await rig.used(COUNTER) == PROMPT + 20


async def test_a_stream_ends_in_band_where_its_budget_does_and_is_charged_what_came(rig: Rig) -> None:
    rig.settings, rig.budgets = CUT, [TOKENS_A_DAY | {"limit": {"tokens": PROMPT + 100}}]
    exchange = await begun(rig)
    text, cut = await streamed(rig, exchange, 500)
    assert cut
    passed = text.count("water")
    assert 100 - 16 < passed <= 100
    error = json.loads(text.rpartition("data: ")[2])["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "budget.exhausted")
    assert "'user-day' allows 108 tokens per day. It ran out while the answer was streamed" in error["message"]
    effects = exchange.close()
    (settle,) = money(effects)
    assert isinstance(settle, Settle) and settle.usage == Usage(PROMPT, passed + 1)  # the word that was not passed on was generated
    await rig.carry_out(effects)
    assert await rig.used(COUNTER) == PROMPT + passed + 1


async def test_streams_share_what_is_left_of_a_budget(rig: Rig) -> None:
    """Reserved whole, the first would take it all: 500 tokens of answer each, of a budget of 400."""
    rig.settings, rig.budgets = CUT, [TOKENS_A_DAY | {"limit": {"tokens": 400}}]
    exchanges = [await begun(rig) for _ in range(4)]
    said = 0
    for exchange in exchanges:
        text, cut = await streamed(rig, exchange, 500)
        assert cut
        said += text.count("water")
        await rig.carry_out(exchange.close())
    assert 400 - 4 * 16 <= await rig.used(COUNTER) <= 400 + 4
    assert said + 4 * (PROMPT + 1) == await rig.used(COUNTER)


async def test_a_stream_within_its_cap_is_not_cut_by_a_budget_that_holds_no_more(rig: Rig) -> None:
    rig.settings, rig.budgets = CUT, [TOKENS_A_DAY | {"limit": {"tokens": PROMPT + 30}}]
    exchange = await begun(rig, STREAMED | {"max_tokens": 30})
    text, cut = await streamed(rig, exchange, 30)
    assert text.count("water") == 30 and not cut


async def test_a_stream_holds_no_more_than_its_cap(rig: Rig) -> None:
    rig.settings = CUT
    exchange = await begun(rig, STREAMED | {"max_tokens": 40})
    for _ in range(2):
        await streamed(rig, exchange, 20)
        assert await rig.used(COUNTER) == PROMPT + 40


async def test_an_answer_that_is_no_stream_is_reserved_whole(rig: Rig) -> None:
    rig.settings = CUT
    _, answer = await rig.ask(STREAMED | {"stream": False})
    assert isinstance(answer, Proceed) and answer.last
    assert await rig.used(COUNTER) == PROMPT + 500


async def test_without_cut_a_stream_is_not_read_and_finishes(rig: Rig) -> None:
    _, answer = await rig.ask(STREAMED)
    assert isinstance(answer, Proceed) and answer.last
    assert await rig.used(COUNTER) == PROMPT + 500


async def test_money_is_extended_with_the_tokens(rig: Rig) -> None:
    rig.settings = CUT
    # 46 tokens of answer at 2 USD a million, and the prompt at 1
    rig.budgets = [TOKENS_A_DAY | {"name": "cost", "limit": {"usd": 0.0001}}]
    exchange = await begun(rig)
    text, cut = await streamed(rig, exchange, 500)
    assert cut and "'cost' allows $0.0001" in text
    assert 46 - 16 < text.count("water") <= 46


async def test_in_shadow_a_stream_is_not_cut(rig: Rig) -> None:
    rig.settings = CUT | {"mode": "shadow"}
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": PROMPT + 40}}]
    exchange = await begun(rig)
    text, cut = await streamed(rig, exchange, 100)
    assert (text.count("water"), cut) == (100, False)
    assert ("budget", "would_reply") in {(step["filter"], step["outcome"]) for step in exchange.decision.steps}


async def test_a_caller_who_hangs_up_is_charged_what_came(rig: Rig) -> None:
    rig.settings = CUT
    exchange = await begun(rig)
    await streamed(rig, exchange, 7)
    await rig.carry_out(exchange.close(Cause.ABORTED))
    assert await rig.used(COUNTER) == PROMPT + 7


@pytest.mark.parametrize("ending", ["settled", "released"])
async def test_requests_at_once_are_counted_while_they_run(rig: Rig, ending: str) -> None:
    rig.budgets = [TOKENS_A_DAY, AT_ONCE]
    running = [await begun_whole(rig) for _ in range(2)]
    _, refused = await rig.ask()
    assert isinstance(refused, Refuse) and refused.status == 429
    assert error_of(refused)["code"] == "budget.exhausted"
    assert error_of(refused)["message"] == (
        "The budget 'at-once' allows 2 requests at once, and they are running. Try again when one of them has ended."
    )
    assert refused.headers["retry-after"] == "1" and "x-should-retry" not in refused.headers
    assert await rig.used("at-once:ann", "concurrency", HELD) == 2
    await rig.send(running[0], ResponseHeaders(200 if ending == "settled" else 500, SSE))
    await rig.carry_out(running[0].close(Cause.ABORTED))
    assert await rig.used("at-once:ann", "concurrency", HELD) == 1
    assert isinstance((await rig.ask())[1], Proceed)


async def begun_whole(rig: Rig) -> Exchange:
    rig.usage = {"on_hang_up": "count"}
    return (await rig.ask(STREAMED | {"max_tokens": 10}))[0]


async def test_windows_begin_in_the_policys_time_zone(rig: Rig) -> None:
    rig.document = {"time_zone": "Asia/Kolkata"}  # UTC+5:30: the day began at 18:30 the day before
    await rig.ask()
    start = DAY.start_ms - 5 * 3_600_000 - 1_800_000
    zoned = type(DAY)(start, start + 86_400_000)
    assert (await rig.used(COUNTER), await rig.used(COUNTER, window=zoned)) == (0, PROMPT + 92)


@pytest.mark.parametrize(("limit", "used"), [("input_tokens", PROMPT), ("output_tokens", 92)])
async def test_prompts_and_answers_can_be_limited_apart(rig: Rig, limit: str, used: int) -> None:
    rig.budgets = [TOKENS_A_DAY | {"limit": {limit: used}}]
    await rig.ask()
    assert await rig.used(COUNTER, limit) == used  # type: ignore[arg-type]  # a name of the policy that is a unit of the store
    _, answer = await rig.ask()
    assert isinstance(answer, Refuse) and limit.replace("_", " ") in error_of(answer)["message"]


async def test_thresholds_are_told_once_by_settlements(rig: Rig) -> None:
    rig.models = [PRICED]
    rig.budgets = [TOKENS_A_DAY | {"limit": {"tokens": 100}, "warn_at": [0.8, 0.5]}]
    warnings = []
    for _ in range(6):
        exchange, _ = await rig.ask(BODY | {"max_tokens": 10, "stream": True})
        effects = [Settle("acme", f"x{rig.exchanges}", Usage(PROMPT, 7))]
        exchange.close()
        records = await rig.carry_out(effects)
        warnings += [record.members for record in records if record.kind == "budget_warning"]
    assert [(told["threshold"], told["used"]) for told in warnings] == [(50, 60), (80, 90)]
    assert warnings[0]["budget"] == "user-day" and warnings[0]["counter"] == "research/ann"
