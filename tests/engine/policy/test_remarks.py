"""What a policy says to no effect is remarked, and stops nobody."""

import pytest

from tests.engine.policy.support import Workbench

POLICY = """
version: 1
models: [{name: a, max_output: 100, price: {input: 1, output: 0}}]
identity: [{headers: {team: x-team, user: x-user}}]
budgets:
  - BUDGET
  - {name: other, per: [team], limit: {tokens: 1000}, window: day}
filters:
  - identity: {}
  - pii: {}
  - budget: {}
overrides: []
other_paths: refuse
"""
OTHER = "budgets[1] ends first, with 1,000 tokens per day; make this one smaller, or take it away"

NOBODY_HITS = [
    "{name: b, per: [team], limit: {tokens: 1000}, window: hour}",
    "{name: b, per: [team, user], limit: {tokens: 1000}, window: day}",
    "{name: b, per: [user, team, model], limit: {output_tokens: 2000}, window: minute}",
    "{name: b, per: [team], limit: {tokens: 31000}, window: month}",
    "{name: b, per: [team, user], limit: {input_tokens: 7000}, window: week}",
]


@pytest.mark.parametrize("budget", NOBODY_HITS)
def test_a_budget_behind_another_one(bench: Workbench, budget: str) -> None:
    (remark,) = bench.compile(POLICY.replace("BUDGET", budget).encode()).remarks
    assert (remark.line, remark.where, remark.message) == (6, "budgets[0]", f"nobody can hit it: {OTHER}")


SOMEBODY_HITS = [
    "{name: b, per: [team], limit: {tokens: 999}, window: hour}",
    "{name: b, per: [user], limit: {tokens: 5000}, window: day}",
    "{name: b, per: [organisation], limit: {tokens: 5000}, window: day}",
    "{name: b, per: [team], limit: {tokens: 30999}, window: month}",
    "{name: b, per: [team], limit: {requests: 5000}, window: day}",
    "{name: b, per: [team], limit: {tokens: 5000}, window: {sliding: 86400}}",
    "{name: b, per: [team], limit: {usd: 5000}, window: day}",
    "{name: b, per: [team], limit: {concurrency: 5000}}",
]


@pytest.mark.parametrize("budget", SOMEBODY_HITS)
def test_a_budget_that_may_end_first_is_none(bench: Workbench, budget: str) -> None:
    assert bench.compile(POLICY.replace("BUDGET", budget).encode()).remarks == []


def test_of_two_that_are_the_same_it_is_the_second(bench: Workbench) -> None:
    twin = "{name: b, per: [team, organisation], limit: {tokens: 1000}, window: day}"
    (remark,) = bench.compile(POLICY.replace("BUDGET", twin).encode()).remarks
    assert (remark.where, "budgets[0] ends first" in remark.message) == ("budgets[1]", True)


SLIDING = """
version: 1
budgets:
  - {name: a, per: [model], limit: {requests: 10}, window: {sliding: 60}}
  - {name: b, per: [model], limit: {requests: REQUESTS}, window: WINDOW}
  - {name: c, per: [organisation], limit: {concurrency: 4}}
  - {name: d, per: [model], limit: {concurrency: 4}}
filters: [budget: {}]
"""


@pytest.mark.parametrize(
    ("requests", "window", "remarked"),
    [
        (600, "hour", True),
        (599, "hour", False),
        (20, "{sliding: 120}", True),
        (20, "{sliding: 121}", False),
        (10, "minute", True),
        (14_999, "day", False),
        (15_000, "day", True),
    ],
)
def test_sliding_windows(bench: Workbench, requests: int, window: str, remarked: bool) -> None:
    policy = bench.compile(SLIDING.replace("REQUESTS", str(requests)).replace("WINDOW", window).encode())
    found = [remark.where for remark in policy.remarks]
    assert found == [*["budgets[1]"][: int(remarked)], "budgets[3]"]


def test_a_month_does_not_bound_a_week(bench: Workbench) -> None:
    text = POLICY.replace("BUDGET", "{name: b, per: [team], limit: {requests: 20}, window: week}")
    month = "{name: m, per: [team], limit: {requests: LIMIT}, window: month}"
    for limit, count in ((10, 1), (11, 0)):
        other = text.replace("{name: other, per: [team], limit: {tokens: 1000}, window: day}", month.replace("LIMIT", str(limit)))
        assert len(bench.compile(other.encode()).remarks) == count


def test_money_that_nobody_spends(bench: Workbench) -> None:
    text = POLICY.replace("BUDGET", "{name: b, per: [team], limit: {usd: 1}, window: day}")
    assert bench.compile(text.encode()).remarks == []
    (remark,) = bench.compile(text.replace("{input: 1, output: 0}", "{input: 0, output: 0}").encode()).remarks
    assert (remark.where, remark.message) == ("budgets[0].limit", "nobody can hit it: every model of the catalogue is free")


def test_a_budget_that_holds_no_request(bench: Workbench) -> None:
    (remark,) = bench.compile(POLICY.replace("BUDGET", "{name: b, per: [user], limit: {tokens: 99}, window: day}").encode()).remarks
    assert remark.where == "budgets[0].limit"
    assert remark.message.startswith("holds no request that names no cap: an answer of 100 tokens is assumed; lower")


LATER = [
    ("{team: x}", "{team: x}", "{mode: shadow}", "{mode: 'off'}", True),
    ("{team: x-1}", "{team: 'x-*'}", "{mode: shadow}", "{mode: 'off', threshold: 1}", True),
    ("{team: x, user: a}", "{team: [y, x]}", "{mode: shadow}", "{mode: 'off'}", True),
    ("{team: [x, y]}", "{team: x}", "{mode: shadow}", "{mode: 'off'}", False),
    ("{team: x}", "{team: x, user: a}", "{mode: shadow}", "{mode: 'off'}", False),
    ("{team: x}", "{team: x}", "{mode: shadow, threshold: 1}", "{mode: 'off'}", False),
]


@pytest.mark.parametrize(("who", "later", "sets", "sets_later", "remarked"), LATER)
def test_an_override_that_a_later_one_replaces(
    bench: Workbench, who: str, later: str, sets: str, sets_later: str, remarked: bool
) -> None:
    two = f"overrides:\n  - {{when: {who}, set: {{pii: {sets}}}}}\n  - {{when: {later}, set: {{pii: {sets_later}}}}}\n"
    text = POLICY.replace("  - BUDGET\n", "").replace("overrides: []\n", two)
    found = [(remark.line, remark.message) for remark in bench.compile(text.encode()).remarks]
    told = "never reached: overrides[1] concerns the same callers and sets the same; later ones win"
    assert found == ([(12, told)] if remarked else [])


DOUBTED = """
version: 1
upstreams: {hosted: {url: "https://api.openai.com/v1/"}, own: {url: "http://10.0.0.1/v1/base"}}
models:
  - {name: a, max_output: 1000, price: {input: 0.0000006, output: 0.8}, pools: [{upstream: hosted}]}
  - {name: b, max_output: 1000, price: {input: 0, output: 0.6}, pools: [{upstream: own}]}
identity: [{headers: {team: x-team}}]
budgets:
  - {name: none, per: [team], limit: {usd: 0.0005}, window: day}
  - {name: some, per: [model], limit: {usd: 0.0006}, window: hour}
filters: [{identity: {}}, {pii: {}}, {budget: {}}, {routing: {}}]
overrides:
  - {when: {team: "^lab-.*$"}, set: {pii: {mode: shadow}}}
  - {when: {organisation: acme}, set: {budget: {mode: shadow}}}
  - {when: {organisation: "d*", team: [x, "lab-*"]}, set: {routing: {}}}
"""
DOUBTS = """
3: upstreams.hosted.url: ends with /v1, which is part of the request's own path; write it without, or `headrace up` refuses it
5: models[0].price.input: 0.0000006 USD per million tokens is next to nothing; if it is the price of one token, write 0.6
9: budgets[0].limit: holds no request that names no cap: an answer of 0.0006 USD, or more, is assumed
11: filters[1].pii: requests that are no LLM calls (batches, files, audio) pass unread; say which may, other_paths: [GET /v1/models
13: overrides[0].when.team: '^lab-.*$' is read as a glob (*, ?, [seq]), not as a regular expression
14: overrides[1].when.organisation: never reached: no source under identity tells the organisation, so that everybody's is 'default'
15: overrides[2].set.routing: sets nothing
"""


def test_what_can_hardly_be_meant(bench: Workbench) -> None:
    found = [f"{one.line}: {one.where}: {one.message}" for one in bench.compile(DOUBTED.encode()).remarks]
    for remark, words in zip(found, DOUBTS.strip().splitlines(), strict=True):
        assert remark.startswith(words)


def test_of_an_organisation_that_a_source_tells_nothing_is_said(bench: Workbench) -> None:
    told = DOUBTED.replace("team: x-team", "team: x-team, organisation: x-org")
    assert not [one for one in bench.compile(told.encode()).remarks if "organisation" in one.message]


def test_whoever_says_that_other_paths_pass_is_not_told_so(bench: Workbench) -> None:
    told = DOUBTED + "other_paths: pass\n"
    assert not [one for one in bench.compile(told.encode()).remarks if "other_paths" in one.message]
