"""`headrace check`."""

import json
import shutil
from pathlib import Path

import pytest

from tests.cli.command import headrace

POLICIES = Path(__file__).parents[2] / "policies"


def test_a_good_policy_is_summed_up_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("""
version: 1
other_paths: [GET /v1/models]
models: [{name: a, price: {input: 1, output: 2}}]
identity: [{headers: {user: x-user}}]
budgets:
  - {name: b, per: [user], limit: {requests: 1000}, window: {sliding: 3600}}
  - {name: c, per: [user], limit: {usd: 2.50}, window: day}
filters: [{identity: {}}, {budget: {mode: shadow}}]
overrides: [{when: {user: a}, set: {budget: {mode: "off"}}}]
""")
    done = headrace("check", "p.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "p.yaml: 1 model (a); filters identity, budget (shadow); budgets b (1,000 requests per user and any 3,600 s), "
        "c (2.5 USD per user and day); 1 override; other paths are refused but for GET /v1/models\n"
    )


def test_every_problem_of_every_policy_is_said_and_the_status_is_1(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("version: 1\n")
    (tmp_path / "bad.yaml").write_text("version: 1\nbudgts: []\nmodels:\n  - {nam: a}\n")
    done = headrace("check", "bad.yaml", "good.yaml", "gone.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == "good.yaml: any model; no filters\n"
    assert done.stderr.splitlines() == [
        "bad.yaml:2: budgts: unknown key; did you mean 'budgets'?",
        "bad.yaml:4: models[0]: 'name' is missing",
        "bad.yaml:4: models[0].nam: unknown key; did you mean 'name'?",
        "gone.yaml: cannot be read: No such file or directory",
    ]


def test_json_is_one_document(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("version: 1\n")
    (tmp_path / "bad.yaml").write_text("version: 2\n")
    done = headrace("check", "--json", "good.yaml", "bad.yaml", cwd=tmp_path)
    good, bad = json.loads(done.stdout)["policies"]
    assert done.returncode == 1
    assert good["ok"] and len(good["revision"]) == 12 and good["problems"] == good["remarks"] == []
    assert not bad["ok"]
    assert bad["problems"] == [{"file": "bad.yaml", "line": 1, "where": "version", "message": "2 is not 1"}]


def test_a_remark_stops_nobody_who_is_not_strict(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("""version: 1
models: [{name: a, price: {input: 0, output: 0}}]
budgets: [{name: b, per: [model], limit: {usd: 1}, window: day}]
filters: [budget: {}]
""")
    done = headrace("check", "p.yaml", cwd=tmp_path)
    assert done.returncode == 0
    assert (
        done.stderr
        == "p.yaml:3: budgets[0].limit: nobody can hit it: every model of the catalogue is free (a remark: the policy works)\n"
    )
    assert headrace("check", "--strict", "p.yaml", cwd=tmp_path).returncode == 1
    (found,) = json.loads(headrace("check", "--json", "p.yaml", cwd=tmp_path).stdout)["policies"]
    assert [remark["line"] for remark in found["remarks"]] == [3]


@pytest.mark.parametrize("path", sorted(POLICIES.glob("*.yaml")), ids=lambda path: path.name)
def test_our_policies_have_no_problems(path: Path) -> None:
    done = headrace("check", str(path), cwd=path.parent)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_the_example_has_commented_out_works_too(tmp_path: Path) -> None:
    text = (POLICIES / "example.yaml").read_text()
    assert text.count("  # - ") == 2
    (tmp_path / "example.yaml").write_text(text.replace("  # - ", "  - "))
    shutil.copy(POLICIES / "policy.schema.json", tmp_path)
    assert headrace("keys", "create", "--team", "research", "--user", "ada", cwd=tmp_path).returncode == 0
    done = headrace("check", "example.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_tracked_schema_is_what_the_command_prints() -> None:
    done = headrace("policy", "schema", cwd=POLICIES)
    assert done.stdout == (POLICIES / "policy.schema.json").read_text(), "run: headrace policy schema > policies/policy.schema.json"
