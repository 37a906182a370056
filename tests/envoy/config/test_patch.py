"""Headrace put into other people's bootstraps: nothing of theirs lost, nothing done twice, and Envoy takes the result."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from headrace.ext_proc.envoy.config.document import ConfigError, parse
from headrace.ext_proc.envoy.config.managers import filter_kind, managers
from headrace.ext_proc.envoy.config.names import UsageReader
from headrace.ext_proc.envoy.config.nodes import items
from headrace.ext_proc.envoy.config.patch import Attachment, Report, patch
from headrace.ext_proc.envoy.config.settings import Address
from tests.envoy.config.samples import EDGE, ROUTER, TCP, bootstrap, http_filter, listener, manager
from tests.envoy.validate import refusal

SOCKET = Address(path="/run/headrace.sock")
ATTACHMENT = Attachment((SOCKET,))
OURS = ["ext_proc", "json_to_metadata", "sse_to_metadata"]


def patched(text: str, attachment: Attachment = ATTACHMENT) -> tuple[str, Report]:
    document = parse(text, "bootstrap.yaml")
    report = patch(document, attachment)
    return document.text(), report


def kinds(text: str) -> list[list[str]]:
    """The HTTP filters of each connection manager."""
    root = YAML(typ="safe").load(text)
    return [[filter_kind(one) for one in items(found.config, "http_filters")] for found in managers(root)]


def is_subsequence(lines: list[str], of: list[str]) -> bool:
    rest = iter(of)
    return all(line in rest for line in lines)


def test_every_line_of_the_original_is_still_there_and_in_order() -> None:
    text, _ = patched(EDGE)
    assert is_subsequence(EDGE.splitlines(), text.splitlines())


@pytest.mark.parametrize(
    ("comment", "subject"),
    [
        ("# The router is last.", "- name: envoy.filters.http.router"),
        ("# Compress what goes to browsers.", "- name: envoy.filters.http.compressor"),
        ("# The pools.", "clusters:"),
        ("# Statistics.", "stats_config:"),
    ],
)
def test_a_comment_stays_above_its_subject(comment: str, subject: str) -> None:
    lines = [line.strip() for line in patched(EDGE)[0].splitlines()]
    assert lines[lines.index(comment) + 1] == subject


def test_envoy_takes_the_patched_bootstrap(tmp_path: Path) -> None:
    text, report = patched(EDGE)
    assert refusal(text, tmp_path) == ""
    assert kinds(text) == [["compressor", *OURS, "router"]]
    assert len(report.changes) == 9


def test_twice_is_the_same_as_once() -> None:
    once, _ = patched(EDGE)
    twice, report = patched(once)
    assert twice == once
    assert report.changes == []


THEIR_LOG = """\
          access_log:
          # Everything, for us.
          - name: envoy.access_loggers.stdout
            typed_config: {"@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}
          # The filters.
          http_filters:
"""
WITH_A_LOG = EDGE.replace("          http_filters:\n", THEIR_LOG)
SERVICE_READS = Attachment((SOCKET,), usage=UsageReader.SERVICE)


def test_an_envoy_that_reads_no_usage_is_asked_for_none(tmp_path: Path) -> None:
    text, report = patched(EDGE, SERVICE_READS)
    assert refusal(text, tmp_path) == ""
    assert kinds(text) == [["compressor", "ext_proc", "router"]] and "access_log:" not in text
    assert patched(text, SERVICE_READS) == (text, Report(notes=report.notes, unrouted=report.unrouted))


@pytest.mark.parametrize("original", [EDGE, WITH_A_LOG], ids=["no log of theirs", "a log of theirs"])
@pytest.mark.parametrize("camel", [False, True])
def test_who_reads_usage_may_change(original: str, camel: bool) -> None:
    native, _ = patched(original)
    service, _ = patched(original, SERVICE_READS)
    before = native.replace("access_log:", "accessLog:").replace("http_filters:", "httpFilters:") if camel else native
    back, report = patched(before, SERVICE_READS)
    assert report.changes == [f"listener edge: {what}" for what in ("ext_proc filter", "no usage filters", "no access log")]
    after = back.replace("accessLog:", "access_log:").replace("httpFilters:", "http_filters:")
    assert YAML(typ="safe").load(after) == YAML(typ="safe").load(service)
    assert is_subsequence(original.splitlines(), after.splitlines())
    assert YAML(typ="safe").load(patched(service)[0]) == YAML(typ="safe").load(native)


THEIR_REPLIES = """\
          local_reply_config:
            mappers:
            # Ours: a page for people.
            - filter: {status_code_filter: {comparison: {op: GE, value: {default_value: 500, runtime_key: none}}}}
              body: {inline_string: "Sorry."}
            # What is no error of theirs.
            body_format: {text_format: "%LOCAL_REPLY_BODY%"}
          http_filters:
"""


def test_words_for_refusals_stand_behind_those_that_are_there(tmp_path: Path) -> None:
    original = EDGE.replace("          http_filters:\n", THEIR_REPLIES)
    text, _ = patched(original)
    assert refusal(text, tmp_path) == ""
    assert is_subsequence(original.splitlines(), text.splitlines())
    [found] = managers(YAML(typ="safe").load(text))
    mappers = items(found.config, "local_reply_config", "mappers")
    assert "status_code_filter" in mappers[0]["filter"] and len(mappers) == 11
    assert patched(text)[1].changes == []
    again, report = patched(text.replace("message: This gateway carries no", "message: No"))
    assert (again, report.changes) == (text, ["listener edge: words of Envoy's refusals"])


def test_other_endpoints_replace_the_cluster_and_nothing_else() -> None:
    once, _ = patched(EDGE)
    other = Attachment((Address(host="127.0.0.1", port=9000), Address(host="127.0.0.1", port=9001)))
    again, report = patched(once, other)
    assert report.changes == ["cluster headrace"]
    assert "/run/headrace.sock" not in again
    assert patched(again, other) == (again, Report(notes=report.notes, unrouted=report.unrouted))


@pytest.mark.parametrize("key", ["transport_socket", "transportSocket"])
def test_tls_towards_the_service_stays(key: str) -> None:
    once, _ = patched(EDGE)
    tls = "{name: envoy.transport_sockets.tls, typed_config: {'@type': type.googleapis.com/x.UpstreamTlsContext, sni: h}}"
    with_tls = once.replace("  - name: headrace\n    type:", f"  - name: headrace\n    {key}: {tls}\n    type:")
    assert with_tls != once
    assert patched(with_tls)[1].changes == []
    text, report = patched(with_tls, Attachment((Address(host="10.0.0.7", port=9000),)))
    assert report.changes == ["cluster headrace"]
    [ours] = [one for one in YAML(typ="safe").load(text)["static_resources"]["clusters"] if one["name"] == "headrace"]
    assert ours[key]["typed_config"]["sni"] == "h" and "10.0.0.7" in text


def test_a_filter_of_ours_that_somebody_weakened_is_mended_under_its_own_name() -> None:
    once, _ = patched(EDGE)
    weakened = once.replace("failure_mode_allow: false", "failure_mode_allow: true").replace("headrace.ext_proc", "llm")
    text, report = patched(weakened)
    assert report.changes == ["listener edge: ext_proc filter"]
    assert "failure_mode_allow: false" in text and "- name: llm\n" in text


def test_a_larger_buffer_limit_is_left_alone() -> None:
    text = EDGE.replace("  - name: edge   # public\n", "  - name: edge\n    per_connection_buffer_limit_bytes: 99000000\n")
    assert "buffer limit" not in " ".join(patched(text)[1].changes)


AUTHN = http_filter("jwt_authn", "JwtAuthentication")
OTHER_EXT_PROC = http_filter(
    "ext_proc", "ExternalProcessor", "                    grpc_service: {envoy_grpc: {cluster_name: waf}}\n"
)
SIGNING = http_filter(
    "aws_request_signing",
    "AwsRequestSigning",
    "                    service_name: bedrock\n                    region: eu-west-1\n",
)
CORS = http_filter("cors", "Cors")
GZIP = """\
                    decompressor_library:
                      name: gzip
                      typed_config: {'@type': type.googleapis.com/envoy.extensions.compression.gzip.decompressor.v3.Gzip}
"""
REQUESTS_ALONE = """\
                    response_direction_config: {common_config: {enabled: {default_value: false, runtime_key: none}}}
"""
OF_BOTH = http_filter("decompressor", "Decompressor", GZIP)
OF_REQUESTS = http_filter("decompressor", "Decompressor", GZIP + REQUESTS_ALONE)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([ROUTER], [*OURS, "router"]),
        ([CORS, AUTHN, ROUTER], ["cors", "jwt_authn", *OURS, "router"]),
        ([AUTHN, SIGNING, ROUTER], ["jwt_authn", *OURS, "aws_request_signing", "router"]),
        ([OTHER_EXT_PROC, ROUTER], ["ext_proc", *OURS, "router"]),
        ([OF_REQUESTS, OF_BOTH, ROUTER], ["decompressor", *OURS, "decompressor", "router"]),
    ],
    ids=["alone", "behind-authentication", "before-signing", "behind-another-processor", "behind-decompressed-requests"],
)
def test_the_filters_stand_behind_who_knows_the_caller_and_before_who_needs_the_final_request(
    filters: list[str], expected: list[str], tmp_path: Path
) -> None:
    text, _ = patched(bootstrap(listener("a", manager("".join(filters)))))
    assert kinds(text) == [expected]
    if OTHER_EXT_PROC not in filters:
        assert refusal(text, tmp_path) == ""


TWO = bootstrap(listener("a", manager(ROUTER)), listener("b", manager(CORS + ROUTER)), listener("tcp", TCP))


def test_every_connection_manager_is_patched_and_other_listeners_are_not(tmp_path: Path) -> None:
    text, _ = patched(TWO)
    assert kinds(text) == [[*OURS, "router"], ["cors", *OURS, "router"]]
    assert text.count("per_connection_buffer_limit_bytes") == 2
    assert refusal(text, tmp_path) == ""


def test_only_the_named_listener_is_patched() -> None:
    text, _ = patched(TWO, Attachment((SOCKET,), listeners=frozenset({"b"})))
    assert kinds(text) == [["router"], ["cors", *OURS, "router"]]


def test_an_unknown_listener_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match="no listener c that handles HTTP; there are: a, b"):
        patched(TWO, Attachment((SOCKET,), listeners=frozenset({"c"})))


def test_json_stays_json_and_camel_case_is_understood(tmp_path: Path) -> None:
    root = YAML(typ="safe").load(EDGE)
    edge = root["static_resources"]["listeners"][0]
    edge["filterChains"] = edge.pop("filter_chains")
    config = edge["filterChains"][0]["filters"][0].pop("typed_config")
    edge["filterChains"][0]["filters"][0]["typedConfig"] = config
    config["httpFilters"] = config.pop("http_filters")
    config["routeConfig"] = config.pop("route_config")
    text, _ = patched(json.dumps(root, indent="\t"))
    there = json.loads(text)["static_resources"]["listeners"][0]["filterChains"][0]["filters"][0]["typedConfig"]
    assert [filter_kind(one) for one in there["httpFilters"]] == ["compressor", *OURS, "router"]
    assert "http_filters" not in there and "route_config" not in there
    assert refusal(text, tmp_path) == ""
    assert patched(text)[0] == text


RDS = """
              rds:
                route_config_name: r
                config_source: {path_config_source: {path: /dev/null}}
"""


def test_routes_from_elsewhere_are_left_to_the_operator_who_is_told_so() -> None:
    original = bootstrap(listener("a", manager(ROUTER, RDS)))
    text, report = patched(original)
    assert kinds(text) == [[*OURS, "router"]]
    line = 1 + original.splitlines().index("              rds:")
    assert [note for note in report.notes if f"the routes come from elsewhere (bootstrap.yaml:{line})" in note]


def test_a_filter_that_only_some_hosts_enable_stays_so() -> None:
    text, _ = patched(EDGE)
    disabled = re.sub(r"( *)- name: headrace.ext_proc\n", r"\g<0>\1  disabled: true\n", text, count=1)
    assert disabled != text
    assert patched(disabled)[0] == disabled
    again, report = patched(disabled.replace("message_timeout: 5s", "message_timeout: 1s"))
    assert "listener edge: ext_proc filter" in report.changes
    assert "disabled: true" in again and "message_timeout: 5s" in again


def test_flow_style_is_patched_too(tmp_path: Path) -> None:
    root = YAML(typ="safe").load(EDGE)
    text, _ = patched(json.dumps(root).replace('{"admin"', ' # one line\n{"admin"', 1))
    assert kinds(text) == [["compressor", *OURS, "router"]]
    assert refusal(text, tmp_path) == ""


def test_wide_indentation_is_kept() -> None:
    wide = EDGE.replace("  ", "    ").replace("- ", "-   ")
    text, _ = patched(wide)
    assert is_subsequence([line.rstrip() for line in parse(wide, "x").text().splitlines()], text.splitlines())
    assert kinds(text) == [["compressor", *OURS, "router"]]
    assert "\n                    -   name: headrace.ext_proc\n                        typed_config:\n" in text


LDS = """\
node: {id: a, cluster: b}
dynamic_resources:
  ads_config: {api_type: GRPC}
  lds_config: {ads: {}}
"""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LDS, r"bootstrap.yaml:4: the listeners come from LDS"),
        (bootstrap(listener("tcp", TCP)), r"bootstrap.yaml:\d+: none of these listeners has a filter of type Http"),
        ("admin: {}\n", r"bootstrap.yaml:1: there is no static_resources.listeners"),
        (bootstrap(listener("a", manager(CORS))), r"bootstrap.yaml:\d+: listener a: http_filters has no router"),
        ("a: [", r"bootstrap.yaml:\d: "),
        ("a: 1\na: 2\n", r"bootstrap.yaml:2: found duplicate key"),
        ("- a\n", r"bootstrap.yaml:1: this is no Envoy configuration"),
        ("a: 1\n---\nb: 1\n", r"bootstrap.yaml:2: but found another document"),
    ],
)
def test_what_cannot_be_patched_is_said_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        patched(text)
