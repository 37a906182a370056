"""Every silent mistake is named with its line; what `config` and `patch` make is found in order."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headrace.ext_proc.envoy.config.access_log import access_log
from headrace.ext_proc.envoy.config.bootstrap import bootstrap, render_bootstrap
from headrace.ext_proc.envoy.config.doctor import RULES, Finding, examine
from headrace.ext_proc.envoy.config.doctor.processor import MODES
from headrace.ext_proc.envoy.config.document import Document, parse, parse_with_lines
from headrace.ext_proc.envoy.config.names import UsageReader
from headrace.ext_proc.envoy.config.patch import Attachment, patch
from headrace.ext_proc.envoy.config.settings import Address, Failover, GatewaySettings, Upstream
from headrace.ext_proc.envoy.config.tree import Tree, tree
from headrace.ext_proc.envoy.config.yaml import Style, render
from tests.envoy.config.samples import EDGE
from tests.envoy.validate import refusal

SETTINGS = GatewaySettings(
    upstreams=(Upstream(name="a", url="http://127.0.0.1:9001"), Upstream(name="b", url="https://llm.example/x")),
    service=(Address(path="/run/headrace.sock"),),
)


class Case(NamedTuple):
    """A setting spoiled, the rule that finds it, and what stands on the line it names."""

    rule: str
    spoil: Callable[["Parts"], Any]
    line: str


class Parts:
    """The places of a good configuration that the cases spoil."""

    def __init__(self, root: Tree) -> None:
        [self.listener] = root["static_resources"]["listeners"]
        self.clusters: list[Tree] = root["static_resources"]["clusters"]
        self.cluster = self.clusters[0]
        self.manager: Tree = self.listener["filter_chains"][0]["filters"][0]["typed_config"]
        self.filters: list[Tree] = self.manager["http_filters"]
        self.processor: Tree = self.filters[0]["typed_config"]
        self.json: Tree = self.filters[1]["typed_config"]["extension_config"]["typed_config"]["response_rules"]
        self.sse: Tree = self.filters[2]["typed_config"]["extension_config"]["typed_config"]["response_rules"]
        self.table: Tree = self.manager["route_config"]
        self.removed: list[str] = self.table["request_headers_to_remove"]
        [self.host] = self.table["virtual_hosts"]
        self.routes: list[Tree] = self.host["routes"]

    def add_filter(self, kind: str, message: str, at: int) -> None:
        config = {"@type": f"type.googleapis.com/envoy.extensions.filters.http.{kind}.v3.{message}"}
        self.filters.insert(at, {"name": f"envoy.filters.http.{kind}", "typed_config": config})

    def override(self, place: Tree, **settings: Any) -> None:
        config = {"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute", **settings}
        place["typed_per_filter_config"] = {"headrace.ext_proc": config}

    def filter_config(self, place: Tree, name: str = "headrace.ext_proc", **settings: Any) -> None:
        config = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", **settings}
        place["typed_per_filter_config"] = {name: config}

    def default_chain(self) -> None:
        """A chain for what no other one matches, with the same routes and without Headrace."""
        manager = {"@type": self.manager["@type"], "stat_prefix": "bare", "http_filters": [self.filters[-1]]}
        manager["route_config"] = {
            "virtual_hosts": [{"name": "bare", "domains": ["*"], "routes": [copy.deepcopy(self.routes[-1])]}]
        }
        chain = {"filters": [{"name": "bare", "typed_config": manager}]}
        self.listener["default_filter_chain"] = chain

    def can_fail_over(self) -> None:
        """Says so, and lacks what it takes."""
        self.processor["grpc_service"]["initial_metadata"][0]["value"] += ",failover"

    def modes(self, **modes: str | int) -> None:
        self.processor["processing_mode"].update(modes)


def unwrap(http_filter: Tree) -> None:
    http_filter["typed_config"] = http_filter["typed_config"]["extension_config"]["typed_config"]


def streamed_with_retries(parts: Parts) -> None:
    parts.modes(request_body_mode="FULL_DUPLEX_STREAMED")
    parts.routes[0]["route"]["retry_policy"] = {"retry_on": "5xx"}


def words(*capabilities: str) -> Callable[[Parts], Any]:
    return lambda parts: parts.processor["grpc_service"]["initial_metadata"][0].update(value=",".join(capabilities))


def enabled_on_one_route(parts: Parts) -> None:
    parts.filters[0]["disabled"] = True
    parts.filter_config(parts.routes[0], config={})


def asked_twice(parts: Parts) -> None:
    parts.filters.insert(1, {**copy.deepcopy(parts.filters[0]), "name": "second"})


def requests_decompressed_behind(parts: Parts) -> None:
    parts.add_filter("decompressor", "Decompressor", 1)
    off = {"common_config": {"enabled": {"default_value": False, "runtime_key": "none"}}}
    parts.filters[1]["typed_config"]["response_direction_config"] = off


FAILURES = {"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 500, "runtime_key": "none"}}}}
ENTRIES = tree(access_log())["filter"]
PER_ROUTE = {"@type": "type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute", "disabled": True}
SSE = "headrace.usage.sse"
BRIEF = {"max_stream_duration": "30s"}
WEBSOCKET = [{"upgrade_type": "websocket"}]
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
NAMED = "- name: envoy.filters.http."

CASES = [
    Case("message-timeout", lambda parts: parts.processor.pop("message_timeout"), "'@type'"),
    Case("message-timeout", lambda parts: parts.processor.update(message_timeout="0.9s"), "message_timeout: 0.9s"),
    Case("failure-mode", lambda parts: parts.processor.update(failure_mode_allow=True), "failure_mode_allow: true"),
    Case("processing-mode", lambda parts: parts.processor.pop("processing_mode"), "'@type'"),
    Case("processing-mode", lambda parts: parts.modes(request_body_mode="STREAMED"), "request_body_mode: STREAMED"),
    Case("processing-mode", lambda parts: parts.modes(request_body_mode=1), "request_body_mode: 1"),
    Case("processing-mode", lambda parts: parts.modes(request_header_mode="SKIP"), "request_header_mode: SKIP"),
    Case("processing-mode", lambda parts: parts.modes(response_header_mode="SKIP"), "response_header_mode: SKIP"),
    Case("processing-mode", lambda parts: parts.modes(response_body_mode="BUFFERED"), "response_body_mode: BUFFERED"),
    Case("processing-mode", lambda parts: parts.modes(request_trailer_mode="SEND"), "request_trailer_mode: SEND"),
    Case("mode-override", lambda parts: parts.processor.update(allow_mode_override=False), "allow_mode_override: false"),
    Case("mode-override", lambda parts: parts.processor["allowed_override_modes"].pop(), "allowed_override_modes:"),
    Case("capabilities", lambda parts: parts.processor["grpc_service"].pop("initial_metadata"), "envoy_grpc:"),
    Case("capabilities", words("access-log"), "initial_metadata:"),
    Case("capabilities", words("mode-override"), "initial_metadata:"),
    Case("receiving-namespaces", lambda parts: parts.processor.pop("metadata_options"), "'@type'"),
    Case(
        "receiving-namespaces",
        lambda parts: parts.processor["metadata_options"]["receiving_namespaces"].update(untyped=["other"]),
        "metadata_options:",
    ),
    Case("response-attributes", lambda parts: parts.processor.pop("response_attributes"), "'@type'"),
    Case("mutation-rules", lambda parts: parts.processor.pop("mutation_rules"), "'@type'"),
    Case("mutation-rules", lambda parts: parts.processor["mutation_rules"].update(disallow_all=True), "disallow_all: true"),
    Case(
        "mutation-rules",
        lambda parts: parts.processor["mutation_rules"].update(disallow_expression={"regex": "x-.*"}),
        "disallow_expression:",
    ),
    Case("observability-mode", lambda parts: parts.processor.update(observability_mode=True), "observability_mode: true"),
    Case("immediate-response", lambda parts: parts.processor.update(disable_immediate_response=True), "disable_immediate_response"),
    Case("route-cache", lambda parts: parts.processor.update(disable_clear_route_cache=True), "disable_clear_route_cache: true"),
    Case("route-cache", lambda parts: parts.processor.update(route_cache_action="RETAIN"), "route_cache_action: RETAIN"),
    Case(
        "forward-rules",
        lambda parts: parts.processor.update(forward_rules={"allowed_headers": {"patterns": [{"prefix": "x-"}]}}),
        "forward_rules:",
    ),
    Case(
        "forward-rules",
        lambda parts: parts.processor.update(forward_rules={"disallowed_headers": {"patterns": [{"exact": "Authorization"}]}}),
        "forward_rules:",
    ),
    Case("access-log", lambda parts: parts.manager.pop("access_log"), "'@type'"),
    Case(
        "access-log",
        lambda parts: parts.manager["access_log"][0]["typed_config"]["common_config"]["grpc_service"]["envoy_grpc"].update(
            cluster_name="elsewhere"
        ),
        "access_log:",
    ),
    Case("usage-filters", lambda parts: parts.filters.pop(1), "http_filters:"),
    Case("usage-filters", lambda parts: parts.filters.pop(2), "http_filters:"),
    Case(
        "access-log",
        lambda parts: parts.manager["access_log"][0].update(filter={"and_filter": {"filters": [ENTRIES, FAILURES]}}),
        "filter:",
    ),
    Case("access-log", lambda parts: parts.manager["access_log"][0].update(filter=FAILURES), "filter:"),
    Case("usage-disabled", lambda parts: parts.filters[1].update(disabled=True), "disabled: true"),
    Case("usage-disabled", lambda parts: parts.filters[2].update(disabled=True), "disabled: true"),
    Case("usage-disabled", lambda parts: parts.filter_config(parts.host, SSE, disabled=True), "disabled: true"),
    Case("usage-order", lambda parts: parts.filters.insert(0, parts.filters.pop(2)), "- name: headrace.usage.sse"),
    Case("usage-matcher", lambda parts: unwrap(parts.filters[1]), "typed_config:"),
    Case("usage-matcher", lambda parts: unwrap(parts.filters[2]), "typed_config:"),
    Case("event-size", lambda parts: parts.sse.pop("max_event_size"), "content_parser:"),
    Case("event-size", lambda parts: parts.sse.update(max_event_size=65536), "max_event_size: 65536"),
    Case("content-types", lambda parts: parts.json.pop("allow_content_types_regex"), "rules:"),
    Case("authentication-order", lambda parts: parts.add_filter("jwt_authn", "JwtAuthentication", 3), f"{NAMED}jwt_authn"),
    Case("compressor-order", lambda parts: parts.add_filter("compressor", "Compressor", 1), f"{NAMED}compressor"),
    Case("decompressor-order", requests_decompressed_behind, f"{NAMED}decompressor"),
    Case("client-headers", lambda parts: parts.manager.pop("early_header_mutation_extensions"), "'@type'"),
    Case("asked-twice", asked_twice, "- name: second"),
    Case("idle-timeout", lambda parts: parts.manager.update(stream_idle_timeout="0s"), "stream_idle_timeout: 0s"),
    Case("idle-timeout", lambda parts: parts.manager.update(stream_idle_timeout="30s"), "stream_idle_timeout: 30s"),
    Case("idle-timeout", lambda parts: parts.routes[0]["route"].update(idle_timeout="5s"), "idle_timeout: 5s"),
    Case("stream-duration", lambda parts: parts.manager.update(common_http_protocol_options=BRIEF), "max_stream_duration: 30s"),
    Case("stream-duration", lambda parts: parts.routes[0]["route"].update(max_stream_duration=BRIEF), "max_stream_duration: 30s"),
    Case("cluster", lambda parts: parts.clusters.pop(0), "envoy_grpc:"),
    Case("http2", lambda parts: parts.cluster.pop("typed_extension_protocol_options"), "- name: headrace"),
    Case("circuit-breakers", lambda parts: parts.cluster.pop("circuit_breakers"), "- name: headrace"),
    Case(
        "circuit-breakers",
        lambda parts: parts.cluster["circuit_breakers"]["thresholds"][0].pop("max_pending_requests"),
        "circuit_breakers:",
    ),
    Case(
        "circuit-breakers",
        lambda parts: parts.cluster["circuit_breakers"]["thresholds"][0].update(priority="HIGH"),
        "circuit_breakers:",
    ),
    Case(
        "concurrent-streams",
        lambda parts: parts.cluster["typed_extension_protocol_options"][HTTP_OPTIONS]["explicit_http_config"][
            "http2_protocol_options"
        ].update(max_concurrent_streams=100),
        "max_concurrent_streams: 100",
    ),
    Case("buffer-limit", lambda parts: parts.host.pop("request_body_buffer_limit"), "- name: headrace"),
    Case("buffer-limit", lambda parts: parts.host.update(request_body_buffer_limit="4194304"), "- name: headrace"),
    Case(
        "request-buffer-limit",
        lambda parts: parts.routes[0].update(per_request_buffer_limit_bytes=65536),
        "per_request_buffer_limit_bytes: 65536",
    ),
    Case("route-header", lambda parts: parts.removed.remove("x-headrace-route"), "- name: routed to a"),
    Case("route-timeout", lambda parts: parts.routes[-1]["route"].pop("timeout"), "cluster: a"),
    Case("route-timeout", lambda parts: parts.routes[-1]["route"].update(timeout="10s"), "timeout: 10s"),
    Case("retry-policy", streamed_with_retries, "retry_policy:"),
    Case("websocket", lambda parts: parts.manager.update(upgrade_configs=WEBSOCKET), "- name: routed to a"),
    Case("websocket", lambda parts: parts.routes[1]["route"].update(upgrade_configs=WEBSOCKET), "- name: routed to b"),
    Case("route-override", lambda parts: parts.override(parts.routes[0], disabled=True), "disabled: true"),
    Case("route-override", lambda parts: parts.override(parts.host, disabled=True), "disabled: true"),
    Case(
        "route-override",
        lambda parts: parts.override(parts.routes[0], overrides={"failure_mode_allow": True}),
        "failure_mode_allow: true",
    ),
    Case(
        "route-override",
        lambda parts: parts.override(parts.table, overrides={"processing_mode": {**MODES, "request_body_mode": "NONE"}}),
        "request_body_mode: NONE",
    ),
    Case("route-override", lambda parts: parts.override(parts.host, overrides={"metadata_options": {}}), "metadata_options: {}"),
    Case(
        "route-override",
        lambda parts: parts.override(parts.host, overrides={"grpc_service": {"envoy_grpc": {"cluster_name": "other"}}}),
        "grpc_service:",
    ),
    Case("route-override", lambda parts: parts.filter_config(parts.routes[0], disabled=True), "disabled: true"),
    Case("route-override", lambda parts: parts.filter_config(parts.host, config=PER_ROUTE), "disabled: true"),
    Case("disabled", lambda parts: parts.filters[0].update(disabled=True), "disabled: true"),
    Case("disabled", enabled_on_one_route, "- name: default"),
    Case("unasked", lambda parts: parts.default_chain(), "- name: default"),
    Case("failover", lambda at: at.can_fail_over(), "metadata_options:"),
    Case("failover", lambda at: at.can_fail_over(), "mutation_rules:"),
    Case("failover-routes", lambda at: at.can_fail_over(), "- name: routed to a"),
]
ALSO = {"retry-policy": {"processing-mode"}, "failover": {"failover-routes"}, "failover-routes": {"failover"}}
"""Rules that a case cannot help breaking too."""


def examined(text: str) -> list[Finding]:
    return examine(parse_with_lines(text, "envoy.yaml"))


def good() -> Tree:
    """A good configuration that reads one member of each `usage`, for the sake of the parser's time."""
    root = tree(bootstrap(SETTINGS))
    parts = Parts(root)
    del parts.json["rules"][1:]
    del parts.sse["content_parser"]["typed_config"]["rules"][1:]
    return root


def spoiled(case: Case) -> Tree:
    root = good()
    case.spoil(Parts(root))
    return root


def rules_broken(found: list[Finding], case: Case) -> set[str]:
    return {finding.rule for finding in found} - ALSO.get(case.rule, set())


@pytest.mark.parametrize("case", CASES, ids=[f"{case.rule}-{index}" for index, case in enumerate(CASES)])
def test_a_spoiled_setting_is_found_on_its_line(case: Case) -> None:
    text = render(spoiled(case))
    found = examined(text)
    assert rules_broken(found, case) == {case.rule}
    lines = [text.splitlines()[finding.line - 1].strip() for finding in found if finding.rule == case.rule]
    assert any(line.startswith(case.line) for line in lines), lines


@pytest.mark.parametrize("case", CASES, ids=[f"{case.rule}-{index}" for index, case in enumerate(CASES)])
def test_camel_case_is_read_the_same(case: Case) -> None:
    document = Document("envoy.json", camelled(spoiled(case)), Style(), is_json=True)
    assert rules_broken(examine(document), case) == {case.rule}


def camelled(node: Any) -> Any:
    """As protobuf's JSON has it; names that are data (of filters, of protocols) have no underscore in front of a letter."""
    if isinstance(node, dict):
        return {_camel(key): camelled(value) for key, value in node.items()}
    return [camelled(item) for item in node] if isinstance(node, list) else node


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return key if "." in key else first + "".join(word.capitalize() for word in rest)


def test_every_rule_has_a_case() -> None:
    assert {rule.name for rule in RULES} == {case.rule for case in CASES}


def test_what_we_render_is_in_order() -> None:
    assert examined(render(tree(bootstrap(SETTINGS)))) == []


def test_what_we_render_for_an_envoy_that_reads_no_usage_is_in_order(tmp_path: Path) -> None:
    text = render_bootstrap(SETTINGS.model_copy(update={"usage": UsageReader.SERVICE}))
    assert examined(text) == []
    assert refusal(text, tmp_path) == ""
    assert "sse_to_metadata" not in text and "http_grpc" not in text


def test_what_we_render_for_failover_is_in_order_and_envoy_takes_it(tmp_path: Path) -> None:
    text = render_bootstrap(SETTINGS.model_copy(update={"failover": Failover(), "attempts": True}))
    assert examined(text) == []
    assert refusal(text, tmp_path) == ""


def test_servers_of_an_upstream_are_picked_in_what_envoy_takes(tmp_path: Path) -> None:
    pool = Upstream(name="a", url="http://a", servers=(Address.parse("10.0.0.7:8000"), Address.parse("[fd00::7]:8000")))
    text = render_bootstrap(SETTINGS.model_copy(update={"upstreams": (pool, *SETTINGS.upstreams[1:]), "failover": Failover()}))
    assert examined(text) == []
    assert refusal(text, tmp_path) == ""


def test_what_we_patch_is_in_order() -> None:
    document = parse(EDGE, "envoy.yaml")
    patch(document, Attachment(SETTINGS.service))
    assert examined(document.text()) == []


def test_a_gateway_without_headrace_is_named_as_such() -> None:
    [finding] = examined(EDGE)
    assert str(finding).startswith("envoy.yaml: no ext_proc filter calls the cluster headrace")


def test_a_realtime_route_without_the_filter_is_in_order() -> None:
    root = good()
    parts = Parts(root)
    parts.routes[0]["route"]["upgrade_configs"] = WEBSOCKET
    parts.override(parts.routes[0], disabled=True)
    assert examined(render(root)) == []


def test_a_config_dump_of_the_admin_interface_is_examined_too() -> None:
    root = good()
    parts = Parts(root)
    table = parts.manager.pop("route_config")
    parts.manager["rds"] = {"route_config_name": "headrace"}
    parts.removed.remove("x-headrace-route")
    dump = {
        "configs": [
            {"dynamic_listeners": [{"active_state": {"listener": parts.listener}}]},
            {"dynamic_active_clusters": [{"cluster": one} for one in parts.clusters]},
            {"dynamic_route_configs": [{"route_config": table}]},
        ]
    }
    assert [finding.rule for finding in examined(json.dumps(dump, indent="\t"))] == ["route-header"]


def test_a_finding_says_where_what_and_the_mend() -> None:
    text = render(spoiled(Case("", lambda parts: parts.processor.update(failure_mode_allow=True), "")))
    line = 1 + next(index for index, one in enumerate(text.splitlines()) if "failure_mode_allow" in one)
    [finding] = examined(text)
    assert str(finding) == f"envoy.yaml:{line}: without the service every request passes unchecked; set failure_mode_allow: false"


def test_a_second_listener_to_a_model_is_unasked() -> None:
    root = good()
    parts = Parts(root)
    parts.default_chain()
    chain = parts.listener.pop("default_filter_chain")
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 10001}}
    root["static_resources"]["listeners"].append({"name": "inside", "address": address, "filter_chains": [chain]})
    [finding] = examined(render(root))
    assert (finding.rule, finding.what) == ("unasked", "listener inside leads to the cluster a without asking Headrace")


def test_a_second_filter_that_is_off_is_not_asked_twice() -> None:
    root = good()
    parts = Parts(root)
    asked_twice(parts)
    parts.filters[1]["disabled"] = True
    parts.filter_config(parts.table, name="second", config={})
    assert examined(render(root)) == []


def test_a_filter_that_every_route_enables_is_in_order() -> None:
    root = good()
    parts = Parts(root)
    parts.filters[0]["disabled"] = True
    parts.filter_config(parts.table, config={})
    assert examined(render(root)) == []


def test_an_access_log_that_takes_more_than_our_exchanges_is_in_order() -> None:
    root = good()
    parts = Parts(root)
    parts.manager["access_log"][0]["filter"] = {"or_filter": {"filters": [ENTRIES, FAILURES]}}
    assert examined(render(root)) == []
