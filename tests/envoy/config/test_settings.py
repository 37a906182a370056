"""What a gateway may be made of, and that Envoy takes all of it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from headrace.ext_proc.envoy.config.bootstrap import bootstrap, render_bootstrap
from headrace.ext_proc.envoy.config.nodes import field, walk
from headrace.ext_proc.envoy.config.settings import Address, Failover, GatewaySettings, Upstream
from headrace.ext_proc.envoy.config.tree import tree
from tests.envoy.validate import refusal

SOCKET = Address(path="/run/w.sock")


def gateway(*upstreams: Upstream, **settings: Any) -> GatewaySettings:
    given = {"upstreams": upstreams or (Upstream(name="a", url="http://127.0.0.1:1"),), "service": (SOCKET,), **settings}
    return GatewaySettings(**given)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:/run/w.sock", SOCKET),
        ("/run/w.sock", SOCKET),
        ("127.0.0.1:9000", Address(host="127.0.0.1", port=9000)),
        ("[::1]:9000", Address(host="::1", port=9000)),
        ("headrace:9000", Address(host="headrace", port=9000)),
    ],
)
def test_an_address_is_read_and_written(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", ["", "here", "run/w.sock", "host:", ":1", "host:x", "host:65536", "unix:w", "/" + "x" * 107])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        Address.parse(text)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("127.0.0.1:9000", "http:// or https:// and a host"),
        ("ftp://a", "http:// or https:// and a host"),
        ("http://u:p@a", "neither credentials"),
        ("http://a?x=1", "neither credentials, nor a query"),
        ("http://a:99999", "Port out of range"),
        ("https://api.openai.com/v1/", "without /v1"),
    ],
)
def test_an_url_that_would_not_work_is_refused_in_words(url: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Upstream(name="a", url=url)


@pytest.mark.parametrize("name", ["", "a b", "ä", "a/b", "-a", "x" * 64, "headrace"])
def test_a_name_that_is_no_cluster_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="name"):
        Upstream(name=name, url="http://a")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"upstreams": ()}, "at least 1"),
        ({"upstreams": (Upstream(name="a", url="http://a"), Upstream(name="a", url="http://b"))}, "two upstreams are called a"),
        ({"service": ()}, "at least 1"),
        ({"service": (SOCKET, Address(host="svc", port=1))}, "cannot be endpoints of one cluster"),
        ({"admin": Address(host="10.0.0.1", port=9901)}, "no access control"),
        ({"body_limit": 0}, "greater than 0"),
        ({"body_limt": 1}, "Extra inputs"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    given = {"upstreams": (Upstream(name="a", url="http://a"),), "service": (SOCKET,), **settings}
    with pytest.raises(ValidationError, match=message):
        GatewaySettings(**given)


def test_envoy_takes_every_kind_of_upstream_endpoint_and_name(tmp_path: Path) -> None:
    certificates = tmp_path / "ca.pem"
    certificates.write_text("")
    upstreams = [
        Upstream(name="dns", url="http://models.internal:8000/pool/a/"),
        Upstream(name="v6", url="http://[::1]:8000", host="models.example"),
        # Words that some YAML parser takes for something else.
        *(Upstream(name=name, url="http://127.0.0.1:1") for name in ("on", "No", "null", "y", "123", "1e3", "0x1F", "1.5", "0o7")),
    ]
    for service in ((SOCKET, Address(path="/run/x.sock")), (Address(host="svc", port=1), Address(host="127.0.0.1", port=2))):
        text = render_bootstrap(gateway(*upstreams, service=service, admin=Address(path="/run/admin.sock")))
        assert refusal(text, tmp_path) == ""


def test_an_https_upstream_is_verified_by_name_and_asked_for_by_sni() -> None:
    root = tree(bootstrap(gateway(Upstream(name="openai", url="https://api.openai.com"))))
    [context] = [node for node in walk(root) if "common_tls_context" in node]
    validation = context["common_tls_context"]["validation_context"]
    assert context["sni"] == "api.openai.com"
    assert validation["trusted_ca"] == {"filename": "/etc/ssl/certs/ca-certificates.crt"}
    assert validation["match_typed_subject_alt_names"] == [{"san_type": "DNS", "matcher": {"exact": "api.openai.com"}}]


def test_the_host_header_is_the_urls_unless_another_is_given() -> None:
    root = tree(bootstrap(gateway(Upstream(name="a", url="http://m:8000/p"), Upstream(name="b", url="http://m", host="x.example"))))
    hosts = [field(node, "hostname") for node in walk(root) if field(node, "hostname")]
    assert hosts == ["m:8000", "x.example"]
    [host] = [node for node in walk(root) if field(node, "domains")]
    actions = [route["route"] for route in host["routes"] if "route" in route]
    assert [action["auto_host_rewrite"] for action in actions] == [True, True, True]


def test_without_an_admin_address_there_is_no_admin_interface() -> None:
    assert "admin" not in tree(bootstrap(gateway()))


def test_the_service_is_told_of_a_message_timeout_that_is_not_the_usual_one() -> None:
    def told(**settings: Any) -> str:
        (words,) = [node for node in walk(tree(bootstrap(gateway(**settings)))) if field(node, "key") == "headrace-capabilities"]
        return str(field(words, "value"))

    assert told() == "access-log,mode-override"
    assert told(message_timeout=30) == "access-log,mode-override,answer-within=27000"
    assert told(usage="service") == "mode-override"


@pytest.mark.parametrize(
    ("settings", "version"),
    [
        ({}, "1.38"),
        ({"usage": "service"}, "1.37"),
        ({"failover": Failover()}, "1.40"),
        ({"attempts": True}, "1.40"),
    ],
)
def test_the_oldest_envoy_that_takes_it_is_named(settings: dict[str, Any], version: str) -> None:
    assert f"(Envoy {version} or newer)" in render_bootstrap(gateway(**settings)).splitlines()[0]
