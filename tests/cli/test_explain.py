"""`headrace explain`."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import headrace

POLICY = """
version: 1
upstreams: {small: {url: "http://127.0.0.1:1"}, large: {url: "http://127.0.0.1:2"}}
models: [{name: m, max_output: 50, pools: [{upstream: small, max_tokens: 100}, {upstream: large, max_tokens: 200}]}]
identity: [{headers: {team: x-team}}]
budgets: [{name: day, per: [team], limit: {tokens: 1000}, window: day}]
filters: [{identity: {}}, {pii: {entities: [EMAIL_ADDRESS]}}, {budget: {}}, {routing: {}}]
overrides: [{when: {team: quiet}, set: {pii: {mode: "off"}}}]
"""
SECRET = "ann@example.com"


def explain(folder: Path, *arguments: str, policy: str = POLICY, **members: Any) -> dict[str, Any]:
    (folder / "p.yaml").write_text(policy)
    body = {"model": "m", "messages": [{"role": "user", "content": f"to {SECRET}"}], **members}
    (folder / "r.json").write_text(json.dumps(body))
    done = headrace("explain", "p.yaml", "--request", "r.json", "--json", *arguments, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_request_is_followed_through_every_filter(tmp_path: Path) -> None:
    document = explain(tmp_path, "--header", "x-team: research", "-H", "authorization: Bearer x")
    assert document["principal"]["team"] == "research"
    routing = document["routing"]
    assert (routing["chosen"], routing["reason"]) == ("small", "routing.first_pool")
    assert routing["candidates"] == [
        {"upstream": "small", "fits": True, "why": "holds up to 100 tokens"},
        {"upstream": "large", "fits": True, "why": "holds up to 200 tokens"},
    ]
    assert SECRET not in json.dumps(document["sent"]["body"])
    assert [one["filter"] for one in document["filters"] if one["reason"]] == ["identity", "budget", "routing"]


def test_candidates_of_other_models_are_named(tmp_path: Path) -> None:
    more = "{name: auto, served_by: [n, m]}, {name: n, max_output: 500, pools: [{upstream: large, max_tokens: 9}]}"
    found = POLICY.replace("models: [", f"models: [{more}, ")
    found = found.replace("{budget: {}}, {routing: {}}", "{routing: {}}, {budget: {}}")
    document = explain(tmp_path, "--as", "team=quiet", policy=found, model="auto")
    assert document["routing"]["candidates"] == [
        {"upstream": "large", "model": "n", "fits": False, "why": f"needs {document['routing']['input_tokens'] + 500} tokens of 9"},
        {"upstream": "small", "model": "m", "fits": True, "why": "holds up to 100 tokens"},
        {"upstream": "large", "model": "m", "fits": True, "why": "holds up to 200 tokens"},
    ]
    assert (document["routing"]["chosen"], document["sent"]["body"]["model"]) == ("small", "m")
    assert document["model"] == "auto"


def test_what_fits_nowhere_has_no_pool_and_says_why(tmp_path: Path) -> None:
    document = explain(tmp_path, "--as", "team=research", max_tokens=500)
    routing = document["routing"]
    assert (routing["chosen"], routing["reason"]) == (None, "routing.too_large")
    assert [one["fits"] for one in routing["candidates"]] == [False, False]
    assert (document["refused"]["status"], document["refused"]["code"]) == (413, "routing.too_large")


def test_a_caller_may_be_assumed_and_overrides_hold_for_it(tmp_path: Path) -> None:
    document = explain(tmp_path, "--as", "team=quiet,user=ann")
    assert document["principal"] == {"organisation": "default", "team": "quiet", "user": "ann"}
    assert document["sent"]["body"] == "unchanged"


def test_an_assumed_caller_is_refused_what_any_caller_is(tmp_path: Path) -> None:
    """The identity filter keeps the catalogue, and takes credentials out, whoever calls."""
    policy = "{version: 1, models: [{name: m}], identity: [{headers: {team: x-team}}], filters: [{identity: {}}]}"
    named = explain(tmp_path, "--header", "x-team: a", policy=policy, model="unapproved")["refused"]
    assert named["code"] == "model.not_allowed"
    assert explain(tmp_path, "--as", "team=a", policy=policy, model="unapproved")["refused"] == named
    sent = explain(tmp_path, "--as", "team=a", "--header", "authorization: Bearer x", policy=policy)["sent"]
    assert "authorization" in sent["remove_headers"]


def test_what_a_filter_in_shadow_would_do_is_not_what_happens(tmp_path: Path) -> None:
    document = explain(tmp_path, "--as", "team=a", policy=POLICY.replace("routing: {}", "routing: {mode: shadow}"))
    assert (document["routing"]["chosen"], document["sent"]["set_headers"]) == (None, {})
    assert document["filters"][-2]["metadata"]["route"] == "small"
    told = headrace("explain", "p.yaml", "--request", "r.json", "--as", "team=a", cwd=tmp_path).stdout
    assert "routing    in shadow: " in told and "; would go to small" in told
    assert told.endswith("sent       to the upstream of its route, its body rewritten\n")


def test_an_upstream_of_the_other_api_gets_a_translation_or_nothing(tmp_path: Path) -> None:
    policy = POLICY.replace('127.0.0.1:1"', '127.0.0.1:1", dialect: anthropic')
    assert explain(tmp_path, "--as", "team=a", policy=policy, stop="x")["sent"]["body"]["stop_sequences"] == ["x"]
    thinking = policy.replace("max_output: 50", "max_output: 50, efforts: [low, high]")
    asked = explain(tmp_path, "--as", "team=a", policy=thinking, reasoning_effort="medium")
    assert asked["sent"]["body"]["output_config"] == {"effort": "low"}
    refused = explain(tmp_path, "--as", "team=a", policy=policy, n=2, max_tokens=4)
    assert (refused["refused"]["status"], refused["refused"]["code"]) == (400, "translate.unavailable")
    assert "sent" not in refused and refused["routing"]["chosen"] == "small"


def test_a_refusal_before_routing_leaves_it_empty(tmp_path: Path) -> None:
    document = explain(tmp_path)
    assert document["routing"] == {"input_tokens": None, "candidates": [], "chosen": None, "reason": "auth.missing"}


def test_other_apis_are_told_by_the_path(tmp_path: Path) -> None:
    document = explain(tmp_path, "--as", "team=research", "--path", "/v1/messages", max_tokens=5)
    assert document["endpoint"] == "messages"


@pytest.mark.parametrize(("method", "said"), [("GET", "sent"), ("DELETE", "refused")])
def test_other_paths_are_told_by_method_and_path(tmp_path: Path, method: str, said: str) -> None:
    (tmp_path / "p.yaml").write_text(f"{POLICY}other_paths: [GET /v1/models]\n")
    done = headrace("explain", "p.yaml", "--method", method, "--path", "/v1/models", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "a POST has a body"),
        (["--request", "nowhere.json"], "cannot read nowhere.json"),
        (["--request", "r.json", "--header", "x-team"], "is not 'name: value'"),
        (["--request", "r.json", "--as", "group=a"], "is not like team=research,user=ann"),
    ],
)
def test_a_wrong_command_line_says_what_would_be_right(tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "r.json").write_text("{}")
    done = headrace("explain", "p.yaml", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert said in " ".join(done.stderr.replace("│", " ").split())


def test_a_policy_with_problems_is_not_explained(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 2\n")
    (tmp_path / "r.json").write_text("{}")
    done = headrace("explain", "p.yaml", "--request", "r.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "p.yaml:1" in done.stderr


def test_a_policy_that_the_gateway_cannot_carry_out_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY.replace("{routing: {}}", "{routing: {failover: {attempts: 2}}}"))
    (tmp_path / "r.json").write_text('{"model": "m", "messages": []}')
    asked = ("explain", "p.yaml", "--request", "r.json")
    assert headrace(*asked, cwd=tmp_path).returncode == 0
    done = headrace(*asked, "--gateway", "apisix", cwd=tmp_path)
    assert done.returncode == 1 and "routing.failover: not behind apisix" in done.stderr
