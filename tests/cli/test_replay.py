"""`headrace replay`: recorded requests through two policies."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.cli.replay.playing import Comparison, compare, document
from headrace.ext_proc.cli.replay.traces import read_trace
from headrace.ext_proc.engine.outcomes import Outcome, changes
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from tests.cli.command import headrace

POLICY = """
version: 1
upstreams: {standard: {url: "http://127.0.0.1:9001"}, large: {url: "http://127.0.0.1:9002"}}
models:
  - {name: m, max_output: 10, price: {input: 1, output: 2}, pools: [{upstream: standard, max_tokens: 500}, {upstream: large}]}
identity: [{headers: {team: x-team}}]
budgets: [{name: minute, per: [team], limit: {requests: 2}, window: minute}]
filters:
  - identity: {}
  - pii: {entities: [EMAIL_ADDRESS], model: none}
  - budget: {}
  - routing: {}
"""


def line(content: str = "hi", team: str = "blue", **members: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    return {"as": {"team": team}, "request": {"body": body}, "usage": {"prompt_tokens": 8, "completion_tokens": 4}, **members}


async def compared(folder: Path, lines: Iterable[Any], old: str, new: str) -> Comparison:
    (folder / "old.yaml").write_text(POLICY)
    (folder / "new.yaml").write_text(POLICY.replace(old, new))
    trace = folder / "trace.jsonl"
    trace.write_text("".join(f"{json.dumps(one)}\n\n" for one in lines))
    return await compare(read_trace(trace), folder / "old.yaml", folder / "new.yaml")


async def test_the_same_policy_changes_nothing(tmp_path: Path) -> None:
    found = await compared(tmp_path, [line(), line("a@example.com"), line("again")], "", "")
    assert (found.changed, found.old.requests, found.old.refused) == (0, 3, 1)
    assert found.old == found.new


async def test_a_filter_that_blocks_three_percent_of_the_traffic(tmp_path: Path) -> None:
    lines = [line("a@example.com" if number % 33 == 5 else "hi", team=f"t{number}") for number in range(100)]
    found = await compared(tmp_path, lines, "model: none", "model: none, request: block")
    assert (found.changed, found.new.refused, found.old.refused) == (3, 3, 0)
    assert found.by_change == {"sent → refused pii.blocked": 3}
    assert found.examples == {"sent → refused pii.blocked": [11, 77, 143]}
    assert found.by_caller == {"t5": 1, "t38": 1, "t71": 1}


async def test_budgets_are_counted_at_the_times_of_the_trace(tmp_path: Path) -> None:
    lines = [line(at=f"2026-06-01T12:0{minute}:{second}Z") for minute, second in ((0, 10), (0, 20), (0, 30), (1, 10))]
    found = await compared(tmp_path, lines, "requests: 2", "requests: 1")
    assert (found.old.refused, found.new.refused) == (1, 2)
    assert found.examples == {"sent → refused budget.exhausted": [3]}  # as the file counts, with its blank lines


async def test_tokens_and_money_are_summed(tmp_path: Path) -> None:
    found = await compared(tmp_path, [line(), line()], "output: 2", "output: 4")
    told = document(found)
    assert told["policy"] == {"refused": 0, "input_tokens": 16, "output_tokens": 8, "usd": "0.000032"}
    assert told["against"]["usd"] == "0.000048"
    assert told["changed"] == 0


async def test_what_a_filter_in_shadow_mode_would_do_is_a_change(tmp_path: Path) -> None:
    found = await compared(tmp_path, [line("a@example.com")], "model: none", "model: none, mode: shadow, request: block")
    assert list(found.by_change) == ["would be refused pii.blocked", "personal data: replace → left"]


SERVED = POLICY.replace(
    "models:\n",
    """models:
  - {name: auto, served_by: [m, glob-x]}
  - {name: "glob-*", max_output: 10, price: {input: 10, output: 20}, pools: [{upstream: standard}]}
  - {name: glob-x, max_output: 10, price: {input: 10, output: 20}, pools: [{upstream: standard}]}
""",
).replace("  - budget: {}\n  - routing: {}", "  - routing: {}\n  - budget: {}")


async def test_another_model_at_the_same_upstream_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(SERVED)
    (tmp_path / "new.yaml").write_text(
        SERVED.replace("[m, glob-x]", "[glob-x, m]").replace('  - {name: "glob-*"', '  - {name: "g*"')
    )
    lines = [line(), line(team="b"), line(team="c")]
    for one, model in zip(lines, ("m", "auto", "glob-y"), strict=True):
        one["request"]["body"]["model"] = model
    (tmp_path / "t.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))
    found = await compare(read_trace(tmp_path / "t.jsonl"), tmp_path / "old.yaml", tmp_path / "new.yaml")
    assert found.by_change == {"answered by m → by glob-x": 1}
    assert found.examples == {"answered by m → by glob-x": [2]}


async def test_answers_that_are_read_cost_the_same_without_budgets(tmp_path: Path) -> None:
    """A value was replaced, so that the answer is read; no budget holds a lease."""
    bare = POLICY.replace("  - budget: {}\n", "").replace(
        "budgets: [{name: minute, per: [team], limit: {requests: 2}, window: minute}]", ""
    )
    for name in ("old", "new"):
        (tmp_path / f"{name}.yaml").write_text(bare)
    (tmp_path / "t.jsonl").write_text(f"{json.dumps(line('a@example.com'))}\n{json.dumps(line())}\n")
    told = document(await compare(read_trace(tmp_path / "t.jsonl"), tmp_path / "old.yaml", tmp_path / "new.yaml"))
    assert told["policy"] == {"refused": 0, "input_tokens": 16, "output_tokens": 8, "usd": "0.000032"}


async def test_another_pool_is_a_change(tmp_path: Path) -> None:
    found = await compared(tmp_path, [line("word " * 100)], "max_tokens: 500", "max_tokens: 50")
    assert list(found.by_change) == ["to standard → to large"]


def test_filters_that_fail_are_a_change() -> None:
    assert list(changes(Outcome(), Outcome(failed=("pii",)))) == ["failed: pii"]
    assert list(changes(Outcome(failed=("pii",)), Outcome())) == ["no longer failed: pii"]
    assert list(changes(Outcome(route="a"), Outcome())) == ["to a → to its route"]


WRONG = [
    ("{", "trace.jsonl:1: is not JSON"),
    ("[]", "trace.jsonl:1: must be a mapping"),
    ('{"request": {}, "user": 1}', "trace.jsonl:1: user: unknown key"),
    ('{"request": {}, "as": {"group": "a"}}', "trace.jsonl:1: as.group: is none of organisation"),
    ('{"request": {}, "at": "noon"}', "trace.jsonl:1: at: 'noon' is no time such as 2026-06-01T12:00:00Z"),
    ('{"request": {}, "at": "2026-02-30T12:00:00Z"}', "trace.jsonl:1: at: '2026-02-30T12:00:00Z' is no time"),
    ('{"request": {"raw": "\\ud800"}}', "trace.jsonl:1: half of a surrogate pair"),
    ("\n\n", "trace.jsonl:2: has no request; a line is like"),
]


@pytest.mark.parametrize(("text", "says"), WRONG, ids=[text for text, _ in WRONG])
def test_a_line_that_is_none_is_said(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "trace.jsonl").write_text(text)
    with pytest.raises(PolicyErrors) as raised:
        list(read_trace(tmp_path / "trace.jsonl"))
    assert says in str(raised.value)


def test_the_command_ends_with_what_ci_wants_to_know(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text(POLICY)
    (tmp_path / "new.yaml").write_text(POLICY.replace("requests: 2", "requests: 1"))
    (tmp_path / "t.jsonl").write_text(f"{json.dumps(line())}\n" * 2)
    options = ("--policy", "old.yaml", "--against", "new.yaml")
    assert headrace("replay", "t.jsonl", *options, "--allow", "50", cwd=tmp_path).returncode == 0
    assert headrace("replay", "t.jsonl", *options, "--allow", "49", cwd=tmp_path).returncode == 1
    missing = headrace("replay", "none.jsonl", *options, cwd=tmp_path)
    assert (missing.returncode, "none.jsonl" in missing.stderr) == (2, True)
