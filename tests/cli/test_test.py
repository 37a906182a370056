"""`headrace test`: cases beside a policy."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from headrace.ext_proc.cli.test.format import read_tests
from headrace.ext_proc.cli.test.reports import document, junit, lines, rules_left
from headrace.ext_proc.cli.test.running import FileResult, run
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from tests.cli.command import headrace

POLICY = """
version: 1
upstreams:
  standard: {url: "http://127.0.0.1:9001"}
  large: {url: "http://127.0.0.1:9002"}
models:
  - {name: m, max_output: 100, price: {input: 1, output: 2}, pools: [{upstream: standard, max_tokens: 500}, {upstream: large}]}
identity: [{headers: {team: x-team}}]
budgets: [{name: day, per: [team], limit: {requests: 2}, window: day}]
filters:
  - identity: {}
  - pii: {entities: [EMAIL_ADDRESS], restore: true, model: none}
  - budget: {}
  - routing: {}
overrides:
  - {when: {team: open}, set: {pii: {mode: shadow}}}
"""
ASKED = {"model": "m", "messages": [{"role": "user", "content": "to ada@example.com"}]}
WHOLE = {"choices": [{"message": {"content": "hi"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}
STREAM = [
    {"choices": [{"index": 0, "delta": {"content": "on "}}]},
    {"choices": [{"index": 0, "delta": {"content": "my way"}}]},
    {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2}},
    "[DONE]",
]


def case(expect: Any, **members: Any) -> dict[str, Any]:
    return {"name": "a case", "as": {"team": "blue"}, "request": {"body": ASKED}, "expect": expect, **members}


async def played(folder: Path, *cases: dict[str, Any], policy: str = POLICY) -> FileResult:
    (folder / "p.yaml").write_text(dedent(policy))
    path = folder / "p.test.yaml"
    path.write_text(json.dumps({"cases": cases}))  # JSON is YAML
    return await run(path)


async def problems(folder: Path, *cases: dict[str, Any]) -> list[str]:
    result = await played(folder, *cases)
    return [f"{problem.where}: {problem.message}" for case in result.cases for problem in case.problems]


HOLDS = [
    case({"refused": False, "route": "standard", "never_sent": ["ada@example.com"]}),
    case({"spans": [{"type": "EMAIL_ADDRESS", "path": "messages[0].content", "count": 1}]}),
    case({"sent": {"body": {"model": "m"}, "headers": {"x-team": None}}}),
    case({"sent": {"body": "unchanged"}}, **{"as": {"team": "open"}}),
    case({"filters": {"pii": {"outcome": "continue", "note": {"findings": {"EMAIL_ADDRESS": 1}}}}}),
    case({"refused": {"status": 429, "code": "budget.exhausted", "message": "'day'"}}, repeat=3),
    case({"refused": {"status": 401}}, **{"as": None}),
    case({"route": "standard"}, **{"as": None, "request": {"headers": {"X-Team": "blue"}, "body": ASKED}}),
    case({"charged": {"input_tokens": 7, "output_tokens": 3, "usd": "0.000013"}, "got": {"status": 200}}, answer={"body": WHOLE}),
    case({"charged": {"output_tokens": 2}, "got": {"text": "on my way"}}, answer={"events": STREAM}),
    case({"got": {"status": 500, "body": "unchanged"}}, answer={"status": 500, "body": {"error": {"message": "no"}}}),
    case({"refused": {"status": 400}}, request={"raw": "{"}),
]


@pytest.mark.parametrize("given", HOLDS, ids=lambda given: "-".join(given["expect"]))
async def test_what_holds_passes(given: dict[str, Any], tmp_path: Path) -> None:
    assert await problems(tmp_path, given) == []


FAILS = [
    (case({"route": "large"}), "expect.route: is 'standard', not 'large'; standard: holds up to 500 tokens"),
    (case({"refused": {"status": 429}}), "expect.refused: was sent to 'standard', not refused"),
    (case({"refused": False}, repeat=3), "expect.refused: was refused: The budget 'day'"),
    (case({"route": "standard"}, repeat=3), "expect.route: was refused"),
    (case({"sent": {}}, repeat=3), "expect.sent: was refused"),
    (case({"refused": {"status": 400}}, repeat=3), "expect.refused.status: is 429, not 400"),
    (case({"refused": {"code": "x"}}, repeat=3), "expect.refused.code: is 'budget.exhausted', not 'x'"),
    (case({"refused": {"message": "nope"}}, repeat=3), "expect.refused.message: 'nope' is not in"),
    (case({"sent": {"body": "unchanged"}}), "expect.sent.body: was rewritten"),
    (case({"sent": {"body": {"model": "n"}}}), "expect.sent.body.model: is 'm'"),
    (case({"sent": {"body": {"n": 1}}}), "expect.sent.body.n: is absent"),
    (case({"sent": {"headers": {"x-a": "1"}}}), "expect.sent.headers.x-a: is absent"),
    (case({"never_sent": ["<EMAIL"]}), "expect.never_sent[0]: '<EMAIL' is there"),
    (case({"never_got": ["my way"]}, answer={"events": STREAM}), "expect.never_got[0]: 'my way' is there"),
    (case({"got": {"text": "no"}}, answer={"events": STREAM}), "expect.got.text: is 'on my way'"),
    (case({"got": {"status": 201}}, answer={"body": WHOLE}), "expect.got.status: is 200, not 201"),
    (case({"filters": {"pii": {"reason": "x"}}}), "expect.filters.pii.reason: is"),
    (case({"filters": {"pii": {"outcome": "reply"}}}), "expect.filters.pii.outcome: is 'continue', not 'reply'"),
    (case({"filters": {"nobody": {}}}), "expect.filters.nobody: it had no say; there are identity, pii, budget, routing, usage"),
    (case({"spans": []}), "expect.spans: 1 EMAIL_ADDRESS found besides"),
    (case({"spans": [{"type": "URL"}]}), "expect.spans[0]: 0 URL, not any; found: 1 EMAIL_ADDRESS"),
    (case({"spans": [{"type": "EMAIL_ADDRESS", "path": "tools"}]}), "expect.spans[0].path: nothing was found there"),
    (case({"charged": {"usd": "1"}}, answer={"body": WHOLE}), "expect.charged.usd: is '0.000013', not '1'"),
]


@pytest.mark.parametrize(("given", "says"), FAILS, ids=[says for _, says in FAILS])
async def test_what_does_not_hold_is_said(given: dict[str, Any], says: str, tmp_path: Path) -> None:
    found = await problems(tmp_path, given)
    assert any(says in one for one in found), found


async def test_a_problem_names_the_line_of_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "p.test.yaml").write_text(
        dedent("""
        cases:
          - name: one
            as: {team: blue}
            request: {body: {model: m, messages: []}}
            expect:
              refused: false
              route: large
        """)
    )
    result = await run(tmp_path / "p.test.yaml")
    assert [problem.line for problem in result.cases[0].problems] == [8]
    assert result.cases[0].line == 3


async def test_cases_do_not_share_counters(tmp_path: Path) -> None:
    assert await problems(tmp_path, *[case({"refused": False}, repeat=2) for _ in range(3)]) == []


async def test_rules_that_no_case_reached_are_named(tmp_path: Path) -> None:
    nothing_found = case({"route": "standard"}, request={"body": {"model": "m", "messages": []}})
    assert rules_left(await played(tmp_path, nothing_found)) == [
        "filters[1].pii: it had nothing to do in any case",
        "models[0].pools[1]: no case is sent to 'large'",
        "overrides[0]: no case has a caller with team: open",
    ]


async def test_a_policy_whose_rules_were_all_reached(tmp_path: Path) -> None:
    long = case({"route": "large"}, request={"body": {"model": "m", "messages": [{"role": "user", "content": "word " * 600}]}})
    result = await played(tmp_path, HOLDS[0], long, HOLDS[3])
    assert (result.passed, rules_left(result)) == (True, [])


UNUSABLE = [
    ({"cases": []}, "cases: must not be empty"),
    ({"cases": [case({})]}, "cases[0].expect: expects nothing; a case that looks at nothing cannot fail"),
    ({"cases": [case({"rout": "x"})]}, "cases[0].expect.rout: unknown key; did you mean 'route'?"),
    ({"cases": [case({"got": {}})]}, "cases[0]: expect.got needs an answer: what the model server would say"),
    ({"cases": [case({"route": "x"}, **{"as": {"group": "x"}})]}, "cases[0]: as: 'group' is none of organisation, team"),
    ({"cases": [case({"route": "x"}, request={"body": 1, "raw": "1"})]}, "cases[0].request: has both body and raw"),
    ({"cases": [case({"route": "x"})], "at": "noon"}, "at: "),
]


@pytest.mark.parametrize(("content", "says"), UNUSABLE, ids=[says for _, says in UNUSABLE])
def test_a_file_that_cannot_be_used_is_said_to_be(content: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / "p.test.yaml"
    path.write_text(json.dumps(content))
    with pytest.raises(PolicyErrors) as raised:
        read_tests(path)
    assert any(f"{path}:1: {says}" in str(problem) for problem in raised.value.problems), raised.value


async def test_a_policy_with_problems_is_a_failure_of_its_tests(tmp_path: Path) -> None:
    result = await played(tmp_path, HOLDS[0], policy="version: 2")
    assert not result.passed
    assert list(lines([result], trace=False))[-1] == "0 passed, 0 failed, 1 of 1 files could not be played"
    assert ElementTree.fromstring(junit([result])).find(".//error") is not None


# Of Jenkins' schema (jenkins-junit.xsd): required attributes, optional ones, children. file and line are pytest's and GitLab's.
JUNIT: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": (set(), {"name", "time", "tests", "failures", "disabled", "errors"}, {"testsuite"}),
    "testsuite": (
        {"name", "tests"},
        {"failures", "errors", "time", "disabled", "skipped", "timestamp", "hostname", "id", "package"},
        {"properties", "testcase", "system-out", "system-err"},
    ),
    "testcase": (
        {"name"},
        {"assertions", "time", "classname", "status", "file", "line"},
        {"skipped", "error", "failure", "system-out", "system-err"},
    ),
    "error": (set(), {"type", "message"}, set()),
    "failure": (set(), {"type", "message"}, set()),
}


async def test_junit_is_as_its_schema_has_it(tmp_path: Path) -> None:
    results = [await played(tmp_path, *HOLDS, FAILS[0][0]), await played(tmp_path, HOLDS[0], policy="version: 2")]
    root = ElementTree.fromstring(junit(results))
    assert root.tag == "testsuites"
    for node in root.iter():
        required, optional, children = JUNIT[node.tag]
        assert required <= set(node.keys()) <= required | optional
        assert {child.tag for child in node} <= children
        for number in {"time", "tests", "failures", "errors"} & set(node.keys()):
            assert float(node.attrib[number]) >= 0
    for suite in root:
        assert int(suite.attrib["tests"]) == len(suite)
        assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure"))
        assert int(suite.attrib["errors"]) == len(suite.findall("testcase/error"))
    assert [len(root.findall(f".//{tag}")) for tag in ("failure", "error")] == [1, 1]


async def test_reports_for_programs(tmp_path: Path) -> None:
    result = await played(tmp_path, HOLDS[0], {**FAILS[0][0], "name": "\x00<&"})
    (suite,) = ElementTree.fromstring(junit([result]))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert [one.get("name") for one in suite] == ["a case", "<&"]
    (file,) = document([result])["files"]
    assert [one["passed"] for one in file["cases"]] == [True, False]


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "p.test.yaml").write_text(json.dumps({"cases": [HOLDS[0]]}))
    done = headrace("test", ".", "--trace", "--junit", "out.xml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "replace: 1 EMAIL_ADDRESS" in done.stdout
    assert (tmp_path / "out.xml").read_text().startswith("<?xml")
    assert headrace("test", ".", "--strict", cwd=tmp_path).returncode == 1


@pytest.mark.parametrize(("arguments", "says"), [(["none"], "there is no none"), (["."], "is named *.test.yaml")])
def test_nothing_to_play_is_an_error(arguments: list[str], says: str, tmp_path: Path) -> None:
    done = headrace("test", *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert says in done.stderr
