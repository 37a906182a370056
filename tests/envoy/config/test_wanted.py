"""What a policy asks of somebody else's gateway is looked for, and found in what `envoy config` writes."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.envoy.config.bootstrap import render_bootstrap
from headrace.ext_proc.envoy.config.doctor import Finding, examine
from headrace.ext_proc.envoy.config.document import parse, parse_with_lines
from headrace.ext_proc.envoy.config.patch import Attachment, patch
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.service.gateway import gateway_of, wanted_of
from tests.cli.command import headrace
from tests.envoy.config.samples import EDGE
from tests.envoy.validate import refusal

SERVICE = (Address(path="/run/headrace.sock"),)
POLICY = """
version: 1
upstreams:
  standard: {url: "http://127.0.0.1:9001"}
  claude: {url: "http://127.0.0.1:9002", dialect: anthropic, api_key: {env: CLAUDE_KEY}}
  idle: {url: "http://127.0.0.1:9003", dialect: openai}
models: [{name: m, pools: [{upstream: standard, model: other}, {upstream: claude}]}]
filters: [{routing: {failover: {}}}]
"""
DOCUMENT = PolicyDocument.model_validate(YAML(typ="safe").load(POLICY))
ROUTES = """              routes:
              - match: {prefix: "/", headers: [{name: X-Headrace-Route, %s}]}
                route: {cluster: llm, timeout: 0s}
"""
MATCHES = ["string_match: {exact: NAME}", "exact_match: NAME", "string_match: {safe_regex: {regex: NAME}}"]


def patched(text: str = EDGE) -> str:
    document = parse(text, "edge.yaml")
    patch(document, Attachment(SERVICE))
    return document.text()


def found(text: str, document: PolicyDocument = DOCUMENT) -> list[Finding]:
    return examine(parse_with_lines(text, "edge.yaml"), wanted=wanted_of(document))


def test_a_patched_gateway_has_none_of_it() -> None:
    findings = found(patched())
    assert sorted(one.rule for one in findings) == ["policy-failover", "upstream-attempts", "upstream-route"]
    [attempts] = [one for one in findings if one.rule == "upstream-attempts"]
    assert "at claude: its credential is not put in and chats of the other dialect are not translated" in attempts.what
    assert all(one.line for one in findings)


def test_what_envoy_config_writes_has_all_of_it() -> None:
    assert found(render_bootstrap(gateway_of(DOCUMENT, service=SERVICE))) == []


@pytest.mark.parametrize("match", MATCHES)
def test_a_route_for_every_upstream_is_enough_where_nothing_else_is_asked_for(match: str) -> None:
    """A pool's `model` is written by the routing filter where the gateway does not call at attempts."""
    plain = DOCUMENT.model_copy(update={"filters": ({"routing": {}},)})
    plain = plain.model_copy(update={"upstreams": {**plain.upstreams, "claude": plain.upstreams["standard"]}})
    text = EDGE
    for name in ("standard", "claude"):
        text = text.replace("              routes:\n", ROUTES % match.replace("NAME", name), 1)
    assert found(patched(text), plain) == []
    assert [one.rule for one in found(patched(EDGE), plain)] == ["upstream-route"]


def test_one_upstream_needs_no_route_of_its_own() -> None:
    alone = PolicyDocument.model_validate(
        {"version": 1, "upstreams": {"a": {"url": "http://h"}}, "models": [{"name": "m", "pools": [{"upstream": "a"}]}]}
    )
    assert found(patched(), alone) == []


def without_failover(text: str) -> str:
    """What `envoy config` writes, with a filter of ours that knows nothing of failover: routes that somebody has copied."""
    lines = [line for line in text.splitlines() if "- headrace.candidates" not in line]
    return "\n".join(lines).replace("access-log,mode-override,failover", "access-log,mode-override") + "\n"


def test_routes_that_ask_other_upstreams_are_told_to_the_service_by_a_patch(tmp_path: Path) -> None:
    copied = without_failover(render_bootstrap(gateway_of(DOCUMENT, service=SERVICE)))
    assert [one.rule for one in found(copied)] == ["policy-failover"]
    text = patched(copied)
    assert found(text) == [] and patched(text) == text
    assert refusal(text, tmp_path) == ""


@pytest.mark.parametrize("spoil", ["refresh_cluster_on_retry: true", "override_metadata_namespace: headrace.candidates"])
def test_where_a_route_asks_no_other_upstream_the_service_is_told_of_none(spoil: str) -> None:
    whole = render_bootstrap(gateway_of(DOCUMENT, service=SERVICE))
    spoiled = "\n".join(line for line in whole.splitlines() if spoil not in line) + "\n"
    assert {one.rule for one in found(spoiled)} == {"failover-routes"}
    assert {one.rule for one in found(patched(spoiled))} == {"policy-failover"}


def test_the_patch_says_what_it_leaves_of_a_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "edge.yaml").write_text(EDGE)
    done = headrace("envoy", "patch", "edge.yaml", "--policy", "policy.yaml", cwd=tmp_path)
    assert done.returncode == 0
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    for what in (
        "no route of listener edge matches x-headrace-route: standard, claude: what",
        "not called for attempts at claude",
        "failover has no effect",
    ):
        assert sum(what in note for note in notes) == 1, notes


def test_the_command_takes_the_policy(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "edge.yaml").write_text(patched())
    done = headrace("envoy", "doctor", "edge.yaml", "--policy", "policy.yaml", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    assert "no route of listener edge matches x-headrace-route: standard, claude: what" in done.stdout
    assert "the policy's failover has no effect" in done.stdout
