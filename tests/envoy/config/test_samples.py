"""The tracked samples of envoy/ are what the code renders, and do what they say when their control plane applies them."""

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from headrace.ext_proc.envoy.config.doctor import RULES, examine
from headrace.ext_proc.envoy.config.doctor.wanted import RULE_NAMES
from headrace.ext_proc.envoy.config.document import parse_with_lines
from headrace.ext_proc.envoy.config.yaml import render
from tests.envoy.config.render_samples import ROOT, samples
from tests.envoy.validate import refusal

FOLDER = ROOT / "envoy"
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER_TYPE = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER_TYPE}}


def generated(routes: dict[str, Any]) -> dict[str, Any]:
    """A listener as a control plane makes it."""
    log = {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"},
    }
    manager = {"@type": HCM, "stat_prefix": "http", "access_log": [log], "http_filters": [ROUTER], "route_config": routes}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": "default/eg/http", "address": address, "default_filter_chain": chain}


def table() -> dict[str, Any]:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "headrace", "timeout": "0s"}}]
    return {"name": "default/eg/http", "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]}


def add(target: Any, path: str, value: Any) -> None:
    """JSON Patch's `add`."""
    *steps, last = path.removeprefix("/").split("/")
    for step in steps:
        target = target[int(step)] if isinstance(target, list) else target[step]
    if isinstance(target, list):
        target.insert(len(target) if last == "-" else int(last), value)
    else:
        target[last] = value


def merge(target: dict[str, Any], source: dict[str, Any]) -> None:
    """Protobuf's merge: lists grow."""
    for key, value in source.items():
        if isinstance(value, list):
            target.setdefault(key, []).extend(value)
        else:
            target[key] = value


def load(name: str) -> Any:
    return YAML(typ="safe").load(FOLDER / name)


def by_envoy_gateway() -> dict[str, Any]:
    routes, clusters = table(), list[Any]()
    listener = generated(routes)
    for patch in load("envoy-gateway.yaml")["spec"]["jsonPatches"]:
        operation = patch["operation"]
        if patch["type"].endswith("Cluster"):
            clusters.append(operation["value"])
        else:
            add(listener if patch["type"].endswith("Listener") else routes, operation["path"], operation["value"])
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def by_istio() -> dict[str, Any]:
    routes, clusters = table(), list[Any]()
    listener = generated(routes)
    manager = listener["default_filter_chain"]["filters"][0]["typed_config"]
    for patch in load("istio.yaml")["spec"]["configPatches"]:
        value = patch["patch"]["value"]
        match patch["applyTo"]:
            case "CLUSTER":
                clusters.append(value)
            case "HTTP_FILTER":
                manager["http_filters"].insert(-1, value)
            case "NETWORK_FILTER":
                merge(manager, value["typed_config"])
            case "LISTENER":
                merge(listener, value)
            case "ROUTE_CONFIGURATION":
                merge(routes, value)
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


@pytest.mark.parametrize("name", ["envoy.yaml", "istio.yaml", "envoy-gateway.yaml"])
def test_a_sample_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == samples()[name], "run: python -m tests.envoy.config.render_samples"


@pytest.mark.parametrize("applied", [by_envoy_gateway, by_istio])
def test_what_a_control_plane_makes_of_its_sample_is_in_order(applied: Any, tmp_path: Path) -> None:
    text = render(applied())
    assert examine(parse_with_lines(text, "x")) == []
    assert refusal(text, tmp_path) == ""


def test_envoy_takes_the_sample_of_docker_compose(tmp_path: Path) -> None:
    assert refusal((FOLDER / "envoy.yaml").read_text(), tmp_path) == ""


def test_the_readme_names_every_rule_of_the_doctor() -> None:
    text = (FOLDER / "README.md").read_text()
    names = (*(rule.name for rule in RULES), *RULE_NAMES)
    assert [name for name in names if f"`{name}`" not in text] == []
