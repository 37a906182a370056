"""Upstreams with credentials, dialects and servers: what is read, what is refused, and what the gateway is asked for."""

from pathlib import Path

import pytest

from headrace.ext_proc.core.endpoint import Dialect
from headrace.ext_proc.engine.load.scrape import Target
from headrace.ext_proc.engine.policy.destinations import targets_of
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.service.gateway import gateway_of
from headrace.ext_proc.service.stack import read_document
from tests.filters.compiled import compiled

MODEL = "models: [{name: m, price: {input: 1, output: 1}, pools: [{upstream: a}]}]\nfilters: [{routing: {%s}}]\n"


def policy(upstreams: str, routing: str = "") -> str:
    return f"version: 1\nupstreams: {{{upstreams}}}\n{MODEL % routing}"


def test_a_credential_comes_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDER_KEY", "sk-1")
    (tmp_path / "b.key").write_text("sk-2\n")
    a = 'a: {url: "http://a/base/", api_key: {env: PROVIDER_KEY}, dialect: anthropic}'
    found = compiled(tmp_path, policy(a + ', b: {url: "http://b", api_key: {file: b.key}}')).destinations
    assert (found["a"].api_key, found["a"].prefix, found["a"].dialect) == ("sk-1", "/base", Dialect.ANTHROPIC)
    assert (found["b"].api_key, found["b"].dialect) == ("sk-2", None)
    assert "sk-" not in repr(found)


@pytest.mark.parametrize("content", ["", "two\nlines", "caf\u00e9", "x" * 9000, "tab\there"])
def test_a_credential_that_cannot_be_sent_is_refused_and_not_said(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.key").write_text(content)
    with pytest.raises(PolicyErrors, match="one line of printable ASCII") as caught:
        compiled(tmp_path, policy('a: {url: "http://a", api_key: {file: a.key}}'))
    assert not content or content not in str(caught.value)


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    with pytest.raises(PolicyErrors, match="NO_SUCH_KEY is not set"):
        compiled(tmp_path, policy('a: {url: "http://a", api_key: {env: NO_SUCH_KEY}}'))


@pytest.mark.parametrize("servers", ["[a:1]", '["1.2.3.4"]', '["1.2.3.4:0"]', '["1.2.3.400:1"]', '["1.2.3.4:70000"]'])
def test_a_server_is_an_ip_and_a_port(tmp_path: Path, servers: str) -> None:
    with pytest.raises(PolicyErrors, match="ip:port"):
        compiled(tmp_path, policy(f'a: {{url: "http://a", servers: {servers}, metrics: vllm}}'))


def test_servers_without_an_engine_or_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PolicyErrors, match="must name the servers' engine"):
        compiled(tmp_path, policy('a: {url: "http://a", servers: ["1.2.3.4:1"]}'))
    with pytest.raises(PolicyErrors, match="names a server twice"):
        compiled(tmp_path, policy('a: {url: "http://a", metrics: vllm, servers: ["1.2.3.4:1", "1.2.3.4:1"]}'))


def test_whose_metrics_are_read(tmp_path: Path) -> None:
    servers = 'a: {url: "https://a", metrics: sglang, servers: ["1.2.3.4:1"]}, b: {url: "http://b:8", metrics: vllm}, c: {url: "http://c"}'
    document = compiled(tmp_path, policy(servers)).document
    assert targets_of(document) == {
        "1.2.3.4:1": Target("https://1.2.3.4:1/metrics", "sglang"),
        "b:8": Target("http://b:8/metrics", "vllm"),
    }


PLAIN = 'a: {url: "http://a"}, b: {url: "http://b"}'


@pytest.mark.parametrize(
    ("upstreams", "routing", "failover", "attempts"),
    [
        (PLAIN, "", False, False),
        (PLAIN, "failover: {}", True, False),
        (PLAIN, "failover: {first_token_timeout: 3}", True, True),
        ('a: {url: "http://a/x"}, b: {url: "http://b"}', "", False, False),
        ('a: {url: "http://a/x"}, b: {url: "http://b"}', "failover: {}", True, True),
        ('a: {url: "http://a", dialect: openai}', "", False, True),
        ('a: {url: "http://a", api_key: {env: X}}', "", False, True),
    ],
)
def test_what_the_gateway_is_asked_for(tmp_path: Path, upstreams: str, routing: str, failover: bool, attempts: bool) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(policy(upstreams, routing))
    gateway = gateway_of(read_document(path), service=({"path": "/s"},))
    assert (gateway.failover is not None, gateway.attempts) == (failover, attempts)


@pytest.mark.parametrize(
    ("names", "routing", "attempts"), [("m, n", "failover: {}", True), ("m", "failover: {}", False), ("m, n", "", False)]
)
def test_another_model_of_a_name_is_written_at_the_attempt(tmp_path: Path, names: str, routing: str, attempts: bool) -> None:
    path = tmp_path / "policy.yaml"
    more = f"models: [{{name: auto, served_by: [{names}]}}, {{name: n, pools: [{{upstream: a}}]}}, "
    path.write_text(policy(PLAIN, routing).replace("models: [", more))
    assert gateway_of(read_document(path), service=({"path": "/s"},)).attempts is attempts


def test_the_longest_silence_that_anybody_allows(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    patient = "overrides: [{when: {team: t}, set: {routing: {failover: {%s}}}}]\n"
    for theirs, longest in [("idle_timeout: 9", 9), ("", 120), ("idle_timeout: 3", 5)]:
        path.write_text(policy(PLAIN, "failover: {idle_timeout: 5}") + patient % theirs)
        gateway = gateway_of(read_document(path), service=({"path": "/s"},))
        assert gateway.failover is not None
        assert gateway.failover.idle_timeout == longest
