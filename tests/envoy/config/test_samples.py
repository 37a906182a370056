"""The tracked samples of envoy/ are what the code renders, and do what they say when their control plane applies them."""

import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise
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
THEIR_WORDS = {
    "filter": {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 404, "runtime_key": "none"}}}},
    "body": {"inline_string": "theirs"},
}
HEADER_MUTATION = "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
THEIR_MUTATION = {"name": "theirs", "typed_config": {"@type": HEADER_MUTATION, "mutations": [{"remove": "x-theirs"}]}}
Chains = Callable[[dict[str, Any]], dict[str, Any]]
"""Of a route table: the filter chains of a listener."""
ROUTER = {"name": "envoy.filters.http.router", "typed_config": {"@type": ROUTER_TYPE}}


CONNECTION_LIMIT = {
    "name": "envoy.filters.network.connection_limit",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
        "stat_prefix": "limit",
        "max_connections": 10,
    },
}
TLS_INSPECTOR = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"},
}
OURS = ["headrace.ext_proc", "headrace.usage.json", "headrace.usage.sse"]
HOSTS = ("a.example.com", "b.example.com")


def manager(routes: dict[str, Any]) -> dict[str, Any]:
    """A connection manager as a control plane makes it, with settings of its users'."""
    log = {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"},
    }
    typed = {"@type": HCM, "stat_prefix": "http", "access_log": [log], "http_filters": [CORS, ROUTER], "route_config": routes}
    typed["early_header_mutation_extensions"] = [THEIR_MUTATION]
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": typed}


def for_http(routes: dict[str, Any]) -> dict[str, Any]:
    return {"default_filter_chain": {"filters": [manager(routes)]}}


def with_a_connection_limit(routes: dict[str, Any]) -> dict[str, Any]:
    return {"default_filter_chain": {"filters": [CONNECTION_LIMIT, manager(routes)]}}


def with_their_words(routes: dict[str, Any]) -> dict[str, Any]:
    """For errors that Envoy itself answers."""
    made = manager(routes)
    made["typed_config"]["local_reply_config"] = {"mappers": [THEIR_WORDS]}
    return {"default_filter_chain": {"filters": [made]}}


def for_https(routes: dict[str, Any]) -> dict[str, Any]:
    """A chain to each host. What decrypts is left out."""
    chains = [{"filter_chain_match": {"server_names": [host]}, "filters": [manager(routes)]} for host in HOSTS]
    return {"filter_chains": chains, "listener_filters": [TLS_INSPECTOR]}


GENERATED = [for_http, with_a_connection_limit, with_their_words, for_https]


def generated(chains: dict[str, Any]) -> dict[str, Any]:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return deepcopy({"name": "default/eg/http", "address": address, **chains})


def table() -> dict[str, Any]:
    routes = [{"match": {"prefix": "/"}, "route": {"cluster": "headrace", "timeout": "0s"}}]
    hosts = [{"name": "all", "domains": ["*"], "routes": routes}]
    return {"name": "default/eg/http", "virtual_hosts": hosts, "request_headers_to_remove": ["x-theirs"]}


def add(target: Any, path: str, value: Any) -> None:
    """JSON Patch's `add`, which also makes what is missing on the way, as Envoy Gateway asks of it."""
    steps = path.removeprefix("/").split("/")
    last = steps[-1]
    for step, below in pairwise(steps):
        target = target[int(step)] if isinstance(target, list) else target.setdefault(step, [] if below in ("0", "-") else {})
    if isinstance(target, list):
        target.insert(len(target) if last == "-" else int(last), value)
    else:
        target[last] = value


def everything(node: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """All nodes below one and itself, with their JSON pointers."""
    yield at, node
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from everything(child, f"{at}/{key}")


def pointers(target: Any, json_path: str) -> list[str]:
    """The JSON pointers of what a path of `..key`, `.key` and filters by name finds in `target`."""
    found = [("", target)]
    for deep, key, name in re.findall(r"\.\.(\w+)|\.(\w+)|\[\?\(@\.name == '([^']+)'\)\]", json_path):
        if deep:
            found = [one for at, node in found for one in everything(node, at)]
        if name:
            found = [(f"{at}/{index}", one) for at, many in found for index, one in enumerate(many) if one["name"] == name]
        else:
            word = deep or key
            found = [(f"{at}/{word}", node[word]) for at, node in found if isinstance(node, dict) and word in node]
    assert found
    return [at for at, _ in found]


def merge(target: dict[str, Any], source: dict[str, Any]) -> None:
    """Protobuf's merge: lists grow."""
    for key, value in source.items():
        if isinstance(value, list):
            target.setdefault(key, []).extend(value)
        elif isinstance(value, dict):
            merge(target.setdefault(key, {}), value)
        else:
            target[key] = value


def load(name: str) -> Any:
    return YAML(typ="safe").load(FOLDER / name)


def by_envoy_gateway(chains: Chains) -> dict[str, Any]:
    clusters = list[Any]()
    listener = generated(chains(table()))
    for patch in load("envoy-gateway.yaml")["spec"]["jsonPatches"]:
        operation = patch["operation"]
        if patch["type"].endswith("Cluster"):
            clusters.append(operation["value"])
        elif patch["type"].endswith("Listener"):
            places = pointers(listener, operation["jsonPath"]) if "jsonPath" in operation else [""]
            for place in places:
                add(listener, place + operation.get("path", ""), operation["value"])
        else:
            for one in managers(listener):
                add(one["route_config"], operation["path"], operation["value"])
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def by_istio(chains: Chains) -> dict[str, Any]:
    clusters = list[Any]()
    listener = generated(chains(table()))
    for patch in load("istio.yaml")["spec"]["configPatches"]:
        value = patch["patch"]["value"]
        match patch["applyTo"]:
            case "CLUSTER":
                clusters.append(value)
            case "HTTP_FILTER":
                for one in managers(listener):
                    one["http_filters"].insert(-1, value)
            case "NETWORK_FILTER":
                for one in managers(listener):
                    merge(one, value["typed_config"])
            case "LISTENER":
                merge(listener, value)
            case "ROUTE_CONFIGURATION":
                for one in managers(listener):
                    merge(one["route_config"], value)
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def managers(listener: Any) -> list[Any]:
    return [node for _, node in everything(listener) if isinstance(node, dict) and node.get("@type") == HCM]


@pytest.mark.parametrize("name", ["envoy.yaml", "istio.yaml", "envoy-gateway.yaml"])
def test_a_sample_is_up_to_date(name: str) -> None:
    assert (FOLDER / name).read_text() == samples()[name], "run: python -m tests.envoy.config.render_samples"


@pytest.mark.parametrize("chains", GENERATED)
@pytest.mark.parametrize("applied", [by_envoy_gateway, by_istio])
def test_what_a_control_plane_makes_of_its_sample_is_in_order(applied: Any, chains: Chains, tmp_path: Path) -> None:
    text = render(applied(chains))
    assert examine(parse_with_lines(text, "x")) == []
    assert refusal(text, tmp_path) == ""


@pytest.mark.parametrize("chains", GENERATED)
@pytest.mark.parametrize(("applied", "filters", "logs"), [(by_envoy_gateway, OURS, 2), (by_istio, OURS[:1], 1)])
def test_what_others_have_set_stays(applied: Any, filters: list[str], logs: int, chains: Chains) -> None:
    [listener] = applied(chains)["static_resources"]["listeners"]
    for manager in managers(listener):
        assert [one["name"] for one in manager["http_filters"]] == [CORS["name"], *filters, ROUTER["name"]]
        assert {one["name"] for one in manager["early_header_mutation_extensions"]} == {"theirs", "headrace.own_headers"}
        assert set(manager["route_config"]["request_headers_to_remove"]) == {"x-theirs", "x-headrace-route"}
        assert len(manager["access_log"]) == logs
        mappers = manager["local_reply_config"]["mappers"]
        assert (THEIR_WORDS in mappers[:1]) == (chains is with_their_words)
        assert len([one for one in mappers if "headers_to_add" in one]) == 10


def test_istios_proxy_has_what_its_sample_names() -> None:
    """By bazel/extension_config of istio/proxy, 1.29 to 1.31. It refuses a listener with anything else."""
    types = {str(node["@type"]) for _, node in everything(load("istio.yaml")) if isinstance(node, dict) and "@type" in node}
    assert {one.removeprefix("type.googleapis.com/envoy.extensions.") for one in types} == {
        "access_loggers.filters.cel.v3.ExpressionFilter",
        "filters.http.ext_proc.v3.ExternalProcessor",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "http.early_header_mutation.header_mutation.v3.HeaderMutation",
        "retry.host.previous_hosts.v3.PreviousHostsPredicate",
        "upstreams.http.v3.HttpProtocolOptions",
    }


def test_envoy_takes_the_sample_of_docker_compose(tmp_path: Path) -> None:
    assert refusal((FOLDER / "envoy.yaml").read_text(), tmp_path) == ""


def test_the_readme_names_every_rule_of_the_doctor() -> None:
    text = (FOLDER / "README.md").read_text()
    names = (*(rule.name for rule in RULES), *RULE_NAMES)
    assert [name for name in names if f"`{name}`" not in text] == []
