"""Which model answers for a name: stand-ins, successors, what a caller accepts, prices, weights and how soon answers begin."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.events import Answer, Proceed, Refuse, RequestHeaders
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.engine.load.latency import Latency
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from tests.filters.compiled import NOON_MS, ManualClock, compiled, exchange_with
from tests.kit import answer_head, body, chunk, decision_in, delta, last, post

POLICY = """
    version: 1
    upstreams:
      home: {url: "http://127.0.0.1:1", tags: [eu]}
      away: {url: "http://127.0.0.1:2"}
    models:
      - name: auto
        served_by: [{model: tiny, suits: small}, {model: coder, suits: code}, {model: big, suits: large}]
      - {name: tiny, price: {input: 0.1, output: 0.2}, context: 2000, max_output: 50, pools: [{upstream: home, max_tokens: 400}]}
      - {name: coder, price: {input: 1, output: 2}, max_output: 50, pools: [{upstream: home}]}
      - {name: big, price: {input: 3, output: 15}, max_output: 50, pools: [{upstream: away, max_tokens: 9000}, {upstream: home}]}
      - {name: canary, served_by: [{model: big, weight: 90}, {model: coder, weight: 10}, tiny]}
      - {name: old, sunset: 2026-01-01, successor: auto, pools: [{upstream: home}]}
      - {name: dead, sunset: 2026-01-01, pools: [{upstream: home}]}
      - {name: unpriced, pools: [{upstream: home}]}
      - {name: poolless, price: {input: 5, output: 5}}
    identity: [{headers: {user: x-user, team: x-team}}]
    filters: [{identity: {}}, {routing: {SETTINGS}}, {usage: {mode: "off"}}]
"""


def policy(folder: Path, settings: str = "", latency: Latency | None = None) -> Policy:
    return compiled(folder, POLICY.replace("SETTINGS", settings), clock=ManualClock(NOON_MS), latency=latency)


async def asked(
    policy: Policy,
    model: str = "auto",
    text: str = "hi",
    user: str = "ann",
    capabilities: Capability = Capability.ACCESS_LOG,
    id: str = "e1",
    **more: Any,
) -> tuple[Answer, dict[str, Any], Exchange]:
    """The answer, and the routing filter's step of the decision."""
    exchange = exchange_with(policy, capabilities, id)
    document = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    answer = await last(exchange, RequestHeaders(Headers([*HEAD, ("x-user", user)])), body(document))
    steps = decision_in(exchange.close())["steps"]
    return answer, next(step for step in steps if step["filter"] == "routing" and step["phase"] == "request"), exchange


def sent(answer: Answer) -> tuple[str, str]:
    """(model in the body, or "" where it is as the client wrote it; upstream)"""
    assert isinstance(answer, Proceed), answer
    model = json.loads(answer.body)["model"] if answer.body is not None else ""
    return model, str(answer.metadata.get("route", ""))


HEAD = [(":method", "POST"), (":path", "/v1/chat/completions"), ("content-type", "application/json")]
CODE = "```python\ndef f(x):\n    return x\n```\nWhy does this function fail its unit test?"
HARD = "Prove step by step that the plan below is optimal, and compare it with a greedy strategy. " + "Details follow. " * 80


@pytest.mark.parametrize(
    ("text", "expected"),
    [("What is the capital of France?", ("tiny", "home")), (CODE, ("coder", "home")), (HARD, ("big", "away"))],
)
async def test_a_request_goes_to_the_model_that_suits_it(tmp_path: Path, text: str, expected: tuple[str, str]) -> None:
    answer, step, _ = await asked(policy(tmp_path), text=text)
    assert sent(answer) == expected
    assert step["reason"] == "routing.complexity"
    assert set(step["note"]["complexity"]) == {"kind", "score", "code"}


async def test_the_decision_lists_every_candidate_and_why_it_fell(tmp_path: Path) -> None:
    answer, step, _ = await asked(policy(tmp_path, "tags: [eu], max_price: {input: 2}"), text="hi " * 600)
    assert sent(answer) == ("coder", "home")
    listed = {(one["model"], one["upstream"]): (one["fits"], one["why"]) for one in step["note"]["candidates"]}
    assert listed == {
        ("tiny", "home"): (False, "needs 658 tokens of 400"),
        ("coder", "home"): (True, "holds any number of tokens"),
        ("big", "away"): (False, "has not the tag eu"),
        ("big", "home"): (False, "costs 3 USD per million input tokens of 2"),
    }
    assert step["reason"] == "routing.prompt_size"


async def test_the_cheapest_of_those_that_a_caller_accepts_is_taken(tmp_path: Path) -> None:
    answer, step, _ = await asked(policy(tmp_path, 'accept: ["c*", big], prefer: [price]'), text=HARD)
    assert sent(answer) == ("coder", "home")
    assert step["reason"] == "routing.price"
    why = {one["model"]: one["why"] for one in step["note"]["candidates"]}
    assert why["tiny"] == "is none of the models that may serve this caller"
    assert "costs up to 0.000" in why["coder"]


async def test_preferences_decide_in_their_order(tmp_path: Path) -> None:
    answer, _, _ = await asked(policy(tmp_path, "prefer: [price, complexity]"), text="Q " * 10)
    assert sent(answer)[0] == "tiny"
    answer, step, _ = await asked(policy(tmp_path, "prefer: [complexity, price], complexity: {large_from: 0}"), text="hi")
    assert (sent(answer)[0], step["reason"]) == ("big", "routing.complexity")


async def test_words_of_other_languages_count_as_the_policy_names_them(tmp_path: Path) -> None:
    words = "complexity: {large_from: 24, words: [beweise, vergleiche]}"
    answer, _, _ = await asked(policy(tmp_path, words), text="Beweise den Satz und vergleiche ihn mit dem anderen")
    assert sent(answer)[0] == "big"
    answer, _, _ = await asked(policy(tmp_path, "complexity: {large_from: 24}"), text="Beweise den Satz und vergleiche ihn")
    assert sent(answer)[0] == "tiny"


async def test_what_a_model_that_was_not_asked_for_serves_is_said_of_that_model(tmp_path: Path) -> None:
    answer, _, _exchange = await asked(policy(tmp_path))
    assert isinstance(answer, Proceed)
    assert answer.metadata["reason"] == "routing.complexity"
    told = json.loads(str(answer.metadata["lease"]))
    assert (told[6], told[7]) == ("auto", "tiny")


async def test_a_canary_keeps_its_callers_and_has_its_share(tmp_path: Path) -> None:
    compiled = policy(tmp_path)
    drawn = {f"user-{number}": sent((await asked(compiled, "canary", user=f"user-{number}"))[0])[0] for number in range(300)}
    again = {user: sent((await asked(compiled, "canary", text="else", user=user))[0])[0] for user in list(drawn)[:40]}
    assert again == {user: drawn[user] for user in again}
    shares = Counter(drawn.values())
    assert set(shares) == {"big", "coder"}, "a model without a weight serves only where the others fall"
    assert 10 <= shares["coder"] <= 60  # of 300 at one in ten: three and a half standard deviations


async def test_a_weight_that_grows_moves_only_those_who_go_there(tmp_path: Path) -> None:
    users = [f"user-{number}" for number in range(100)]
    before = [sent((await asked(policy(tmp_path), "canary", user=user))[0])[0] for user in users]
    more = compiled(tmp_path, POLICY.replace("SETTINGS", "").replace("weight: 10", "weight: 60"))
    after = [sent((await asked(more, "canary", user=user))[0])[0] for user in users]
    assert all(now == "coder" for then, now in zip(before, after, strict=True) if then == "coder")
    assert after.count("coder") > before.count("coder")


async def test_callers_without_a_name_are_drawn_anew(tmp_path: Path) -> None:
    anonymous = compiled(
        tmp_path,
        POLICY.replace("SETTINGS", "")
        .replace("weight: 90", "weight: 10")
        .replace("{identity: {}}, ", "")
        .replace("identity: [{headers: {user: x-user, team: x-team}}]", ""),
    )
    found = set()
    for number in range(40):
        exchange = exchange_with(anonymous, id=f"e{number}")
        document = {"model": "canary", "messages": [{"role": "user", "content": "hi"}]}
        found.add(sent(await last(exchange, post(), body(document)))[0])
    assert found == {"big", "coder"}


async def test_where_the_drawn_model_falls_the_next_one_serves(tmp_path: Path) -> None:
    answer, step, _ = await asked(policy(tmp_path, "accept: [tiny]"), "canary")
    assert sent(answer) == ("tiny", "home")
    assert step["reason"] == "routing.accept"


async def test_from_its_sunset_on_a_models_successor_answers(tmp_path: Path) -> None:
    answer, step, _ = await asked(policy(tmp_path), "old")
    assert sent(answer) == ("tiny", "home")
    first = step["note"]["candidates"][0]
    assert first == {"upstream": "home", "fits": False, "why": "is not served since 2026-01-01"}


async def test_without_a_successor_it_is_refused(tmp_path: Path) -> None:
    answer, _, _ = await asked(policy(tmp_path), "dead")
    assert isinstance(answer, Refuse)
    assert (answer.status, answer.reason) == (404, "model.sunset")


@pytest.mark.parametrize(
    ("settings", "model", "status", "reason"),
    [
        ("max_price: {output: 1}", "big", 403, "routing.max_price"),
        ("max_price: {output: 1}", "unpriced", 403, "routing.max_price"),
        ("max_price: {output: 1}", "poolless", 403, "routing.max_price"),
        ("accept: [tiny]", "big", 403, "routing.not_permitted"),
        ("tags: [eu]", "poolless", 403, "routing.not_permitted"),
        ("accept: [tiny]", "auto", 413, "routing.too_large"),
    ],
)
async def test_where_nothing_may_serve_the_refusal_says_what_would_help(
    tmp_path: Path, settings: str, model: str, status: int, reason: str
) -> None:
    answer, step, _ = await asked(policy(tmp_path, settings), model, text="hi " * 600)
    assert isinstance(answer, Refuse), step
    assert (answer.status, answer.reason) == (status, reason)
    assert not any(one["fits"] for one in step["note"]["candidates"])


async def test_the_quickest_is_preferred_and_one_that_is_nearly_as_quick_is_as_good(tmp_path: Path) -> None:
    latency = Latency()
    compiled = policy(tmp_path, "prefer: [latency]", latency)
    for upstream, ms in (("away", 900.0), ("home", 300.0)):
        latency.seen(upstream, "big", ms, NOON_MS)
    answer, step, _ = await asked(compiled, "big")
    assert (sent(answer), step["reason"]) == (("", "home"), "routing.latency")
    for _ in range(30):
        latency.seen("away", "big", 310.0, NOON_MS)
    answer, _, _ = await asked(compiled, "big")
    assert sent(answer) == ("", "away")


async def test_one_that_has_not_been_seen_lately_is_tried_by_a_few(tmp_path: Path) -> None:
    latency = Latency()
    latency.seen("away", "big", 9000.0, NOON_MS - 60_001)
    latency.seen("home", "big", 10.0, NOON_MS)
    quick = policy(tmp_path, "prefer: [latency]", latency)
    routes = Counter([sent((await asked(quick, "big", id=f"e{number}"))[0])[1] for number in range(200)])
    assert 1 <= routes["away"] <= 30


async def test_a_stream_that_passes_through_here_says_how_soon_it_began(tmp_path: Path) -> None:
    latency, clock = Latency(), ManualClock(NOON_MS)
    compiled_ = compiled(
        tmp_path, POLICY.replace("SETTINGS", "").replace('{usage: {mode: "off"}}', "{usage: {}}"), clock=clock, latency=latency
    )
    exchange = exchange_with(compiled_, Capability.NOTHING)
    await last(exchange, RequestHeaders(Headers([*HEAD, ("x-user", "ann")])))
    await last(exchange, body({"model": "big", "stream": True, "messages": [{"role": "user", "content": "hi"}]}))
    await last(exchange, answer_head("text/event-stream"))
    clock.now += 250
    await last(exchange, chunk(delta("a")))
    clock.now += 5000
    await last(exchange, chunk(delta("b"), end=True))
    assert latency.of("away", "big", clock.now) == 250


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("{model: tiny, suits: small}", "tinny"), "there is no model 'tinny'; did you mean 'tiny'?"),
        (("{model: tiny, suits: small}", "canary"), "'canary' is itself served by others; name those"),
        (("{model: tiny, suits: small}", "poolless"), "'poolless' has no pools"),
        (("{model: tiny, suits: small}", "big"), "'big' is served_by[0] already"),
        (
            ("- name: auto", "- name: auto\n        context: 9"),
            "models[0].context: is of no use: other models answer",
        ),
        (("successor: auto", "successor: atuo"), "there is no model 'atuo'; did you mean 'auto'?"),
        (("successor: auto", "successor: old"), "leads back to 'old'; a succession must end"),
        (("sunset: 2026-01-01, successor", "successor"), "needs a sunset"),
        (("weight: 90", "weight: -1"), "must be at least 0"),
        (("weight: 90}, {model: coder, weight: 10}, tiny]", "weight: 0}]"), "every weight is 0"),
        (("SETTINGS", "accept: [gpt]"), "no model of the catalogue matches 'gpt'"),
        (("SETTINGS", "max_price: {}"), "must hold input, output or both"),
        (("SETTINGS", "prefer: [speed]"), "is none of complexity, price, latency, weight"),
    ],
)
def test_a_policy_that_leads_nowhere_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in POLICY
    changed = POLICY.replace(*change, 1).replace("SETTINGS", "")
    with pytest.raises(PolicyErrors) as refused:
        compiled(tmp_path, changed)
    assert message in str(refused.value)


def test_budgets_must_come_after_the_model_is_known(tmp_path: Path) -> None:
    budgets = "budgets: [{name: day, per: [team], limit: {tokens: 100}, window: day}]\n    filters: [{identity: {}}, {budget: {}}, "
    with pytest.raises(PolicyErrors, match=r"filters\[2\]\.routing: must stand before budget.*models\[0\]"):
        compiled(tmp_path, POLICY.replace("filters: [{identity: {}}, ", budgets).replace("SETTINGS", ""))


async def test_a_gateway_that_does_not_call_at_attempts_gets_the_pools_own_name(tmp_path: Path) -> None:
    named = POLICY.replace(
        "{upstream: home}]}\n      - {name: big", "{upstream: home, model: Qwen/Coder-32B}]}\n      - {name: big"
    )
    compiled_ = compiled(tmp_path, named.replace("SETTINGS", ""))
    answer, _, _ = await asked(compiled_, "coder")
    assert sent(answer) == ("Qwen/Coder-32B", "home")
    answer, _, _ = await asked(compiled_, "coder", capabilities=Capability.ACCESS_LOG | Capability.FAILOVER)
    assert sent(answer) == ("", "home")
    assert isinstance(answer, Proceed)
    assert json.loads(str(answer.metadata["candidates"]))[0][:2] == ["home", "Qwen/Coder-32B"]


async def test_each_upstream_is_told_once_with_the_model_that_comes_first(tmp_path: Path) -> None:
    answer, _, _ = await asked(
        policy(tmp_path, "failover: {attempts: 4}"), capabilities=Capability.ACCESS_LOG | Capability.FAILOVER
    )
    assert isinstance(answer, Proceed)
    told = [one[:2] for one in json.loads(str(answer.metadata["candidates"]))]
    assert told == [["home", "tiny"], ["away", "big"]]
    assert answer.metadata["asked"] == "tiny"
