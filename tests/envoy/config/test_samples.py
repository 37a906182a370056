"""The tracked samples of envoy/ are what the code renders, and do what they say when their control plane applies them."""

import re
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
CORS = {
    "name": "envoy.filters.http.cors",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"},
}
HEADER_MUTATION = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
THEIR_MUTATION = {"name": "theirs", "typed_config": {"@type": HEADER_MUTATION, "mutations": [{"remove": "x-theirs"}]}}
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER_TYPE}}


def generated(routes: dict[str, Any]) -> dict[str, Any]:
    """A listener as a control plane makes it, with settings of its users'."""
    log = {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"},
    }
    manager = {"@type": HCM, "stat_prefix": "http", "access_log": [log], "http_filters": [CORS, ROUTER], "route_config": routes}
    manager["early_header_mutation_extensions"] = [THEIR_MUTATION]
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"name": "default/eg/http", "address": address, "default_filter_chain": chain}


def table() -> dict[str, Any]:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "headrace", "timeout": "0s"}}]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    return {"name": "default/eg/http", "virtual_hosts": hosts, "request_headers_to_remove": ["x-theirs"]}


def add(target: Any, path: str, value: Any) -> None:
    """JSON Patch's `add`, which also makes a list that is missing, as Envoy Gateway asks of it."""
    *steps, last = path.removeprefix("/").split("/")
    for step in steps:
        if isinstance(target, list):
            target = target[int(step)]
            continue
        if step == steps[-1] and last in ("0", "-"):
            target.setdefault(step, [])
        target = target[step]
    if isinstance(target, list):
        target.insert(len(target) if last == "-" else int(last), value)
    else:
        target[last] = value


def pointer(target: Any, json_path: str) -> str:
    """The JSON pointer of what a path of keys, indices and one filter at its end names in `target`."""
    found = re.fullmatch(r"\$(.*)\[\?\(@\.name == '(.*)'\)\]", json_path)
    assert found is not None
    steps = re.findall(r"\w+", found[1])
    for step in steps:
        target = target[int(step)] if isinstance(target, list) else target[step]
    return "/" + "/".join([*steps, str([one["name"] for one in target].index(found[2]))])


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
            target = listener if patch["type"].endswith("Listener") else routes
            path = operation.get("path") or pointer(target, operation["jsonPath"])
            add(target, path, operation["value"])
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


@pytest.mark.parametrize("applied", [by_envoy_gateway, by_istio])
def test_what_others_have_set_stays(applied: Any) -> None:
    [listener] = applied()["static_resources"]["listeners"]
    manager = listener["default_filter_chain"]["filters"][0]["typed_config"]
    ours = ["headrace.ext_proc", "headrace.usage.json", "headrace.usage.sse"]
    assert [one["name"] for one in manager["http_filters"]] == [CORS["name"], *ours, ROUTER["name"]]
    assert {one["name"] for one in manager["early_header_mutation_extensions"]} == {"theirs", "headrace.own_headers"}
    assert set(manager["route_config"]["request_headers_to_remove"]) == {"x-theirs", "x-headrace-route", "accept-encoding"}
    assert len(manager["access_log"]) == 2


def test_envoy_takes_the_sample_of_docker_compose(tmp_path: Path) -> None:
    assert refusal((FOLDER / "envoy.yaml").read_text(), tmp_path) == ""


def test_the_readme_names_every_rule_of_the_doctor() -> None:
    text = (FOLDER / "README.md").read_text()
    names = (*(rule.name for rule in RULES), *RULE_NAMES)
    assert [name for name in names if f"`{name}`" not in text] == []
