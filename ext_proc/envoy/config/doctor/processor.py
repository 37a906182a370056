"""Rules on the ext_proc filter itself."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import re2

from headrace.ext_proc.envoy.config.doctor.rule import Rules, Wrong
from headrace.ext_proc.envoy.config.doctor.wiring import Wiring, reads_usage
from headrace.ext_proc.envoy.config.filters import processing_filter
from headrace.ext_proc.envoy.config.names import (
    CANDIDATES_NAMESPACE,
    CAPABILITIES_HEADER,
    FAILOVER,
    NAMESPACE,
    RETRY_HEADERS,
    ROUTE_HEADER,
)
from headrace.ext_proc.envoy.config.nodes import Node, field, items, seconds
from headrace.ext_proc.envoy.config.tree import tree

RULES = Rules()

OURS: Final[Mapping[str, Any]] = tree(processing_filter(5.0))["typed_config"]
MODES: Final[Mapping[str, str]] = {"request_body_mode": "NONE", "response_body_mode": "NONE", **OURS["processing_mode"]}
ENUMS: Final[Mapping[str, tuple[str, ...]]] = {
    "body": ("NONE", "STREAMED", "BUFFERED", "BUFFERED_PARTIAL", "FULL_DUPLEX_STREAMED", "GRPC"),
    "header": ("DEFAULT", "SEND", "SKIP"),
    "trailer": ("DEFAULT", "SEND", "SKIP"),
}
DEFAULTS: Final = {"body": "NONE", "header": "SEND", "trailer": "SKIP"}
WHY: Final[Mapping[str, str]] = {
    "request_header_mode": "the service decides by the headers",
    "request_body_mode": "the service counts, scrubs and routes the whole prompt",
    "request_trailer_mode": "the service has no use for them",
    "response_header_mode": "the service says there whether it needs the answer",
    "response_body_mode": "the service asks where it needs the answer; a quick one is lost otherwise when it closes the stream",
    "response_trailer_mode": "the service asks for them where it needs the answer",
}
SHORTEST_TIMEOUT: Final = 1.0
NEEDED_HEADERS: Final = ("authorization", "x-api-key", "content-type", "content-encoding", "content-length")


def mode(modes: Node, name: str) -> str:
    """The mode in force for `name` (such as `request_body_mode`), with Envoy's defaults and enum numbers resolved."""
    part = name.split("_")[1]
    value = field(modes, name)
    if isinstance(value, int) and 0 <= value < len(ENUMS[part]):
        value = ENUMS[part][value]
    return DEFAULTS[part] if value in (None, "DEFAULT") else str(value)


def wrong_modes(modes: Node) -> Iterator[Wrong]:
    for name, right in MODES.items():
        if (found := mode(modes, name)) != right:
            yield Wrong(modes, name, f"{name} is {found}, not {right}: {WHY[name]}")


@RULES.rule("message-timeout", "set message_timeout: 5s")
def message_timeout(wiring: Wiring) -> Iterator[Wrong]:
    if (found := seconds(field(wiring.processor, "message_timeout"), 0.2)) < SHORTEST_TIMEOUT:
        yield Wrong(wiring.processor, "message_timeout", f"a filter that takes {found:g} s ends the request as 504")


@RULES.rule("failure-mode", "set failure_mode_allow: false")
def failure_mode(wiring: Wiring) -> Iterator[Wrong]:
    if field(wiring.processor, "failure_mode_allow") is True:
        yield Wrong(wiring.processor, "failure_mode_allow", "without the service every request passes unchecked")


@RULES.rule("processing-mode", "use the processing_mode that `headrace envoy config` writes")
def processing_mode(wiring: Wiring) -> Iterator[Wrong]:
    modes = field(wiring.processor, "processing_mode")
    if modes is None:
        yield Wrong(wiring.processor, "", "there is no processing_mode: the service never sees a prompt")
    else:
        yield from wrong_modes(modes)


@RULES.rule("mode-override", "set allow_mode_override: true and the allowed_override_modes that `headrace envoy config` writes")
def mode_override(wiring: Wiring) -> Iterator[Wrong]:
    processor = wiring.processor
    if field(processor, "allow_mode_override") is not True:
        yield Wrong(processor, "allow_mode_override", "Envoy ignores that the service asks for an answer: it passes unchecked")
    allowed = items(processor, "allowed_override_modes")
    missing = [wanted for wanted in OURS["allowed_override_modes"] if not any(_same(wanted, one) for one in allowed)]
    if allowed and missing:
        kinds = " and ".join(wanted["response_body_mode"] for wanted in missing)
        yield Wrong(processor, "allowed_override_modes", f"the service may not ask for {kinds}: such an answer passes unchecked")


def _same(wanted: Mapping[str, str], found: Node) -> bool:
    # Envoy compares all but the request headers' mode, which is past when an answer comes.
    return all(mode(wanted, name) == mode(found, name) for name in MODES if name != "request_header_mode")


@RULES.rule("capabilities", f"add initial_metadata {CAPABILITIES_HEADER}: access-log,mode-override to grpc_service")
def capabilities(wiring: Wiring) -> Iterator[Wrong]:
    service = field(wiring.processor, "grpc_service")
    if "mode-override" not in wiring.capabilities:
        yield Wrong(service, "initial_metadata", "the service is not told that it may ask for answers, and refuses what needs one")
    if "access-log" not in wiring.capabilities and any(map(reads_usage, wiring.filters)):
        yield Wrong(service, "initial_metadata", "the service is not told that Envoy reads usage, and reads every answer itself")


@RULES.rule("receiving-namespaces", f"set metadata_options: {{receiving_namespaces: {{untyped: [{NAMESPACE}]}}}}")
def receiving_namespaces(wiring: Wiring) -> Iterator[Wrong]:
    options = field(wiring.processor, "metadata_options")
    if NAMESPACE not in items(options, "receiving_namespaces", "untyped"):
        what = "Envoy drops the service's metadata: no lease is settled, no header of ours is written"
        yield Wrong(wiring.processor, "metadata_options", what)


@RULES.rule("failover", f"add {CANDIDATES_NAMESPACE} to the receiving_namespaces, and allow {RETRY_HEADERS} by allow_expression")
def failover(wiring: Wiring) -> Iterator[Wrong]:
    if FAILOVER not in wiring.capabilities:
        return
    options = field(wiring.processor, "metadata_options")
    if CANDIDATES_NAMESPACE not in items(options, "receiving_namespaces", "untyped"):
        yield Wrong(wiring.processor, "metadata_options", "Envoy drops the candidates: further attempts go to the first one again")
    allowed = field(wiring.processor, "mutation_rules", "allow_expression", "regex")
    if not _matches(allowed, "x-envoy-max-retries"):
        yield Wrong(wiring.processor, "mutation_rules", "Envoy answers 500 where the service says how many upstreams to ask")


@RULES.rule("response-attributes", "set response_attributes: [response.code_details]")
def response_attributes(wiring: Wiring) -> Iterator[Wrong]:
    if "response.code_details" not in items(wiring.processor, "response_attributes"):
        what = "a reply of Envoy's own (no upstream, time-out) looks like a model's answer"
        yield Wrong(wiring.processor, "response_attributes", what)


@RULES.rule("mutation-rules", "set mutation_rules: {disallow_is_error: true} and nothing that disallows our headers")
def mutation_rules(wiring: Wiring) -> Iterator[Wrong]:
    rules = field(wiring.processor, "mutation_rules")
    if field(rules, "disallow_all") is True:
        yield Wrong(rules, "disallow_all", "Envoy drops every header the service sets: no routing, no length of a rewritten prompt")
    for header in (ROUTE_HEADER, "content-length", "authorization"):
        if _matches(field(rules, "disallow_expression", "regex"), header):
            yield Wrong(rules, "disallow_expression", f"Envoy drops the {header} the service sets")
    if field(rules, "disallow_is_error") is not True:
        what = "an edit that Envoy does not allow (host, x-envoy-*) is dropped without a word"
        yield Wrong(wiring.processor, "mutation_rules", what)


def _matches(pattern: Node, text: str) -> bool:
    try:
        return isinstance(pattern, str) and re2.fullmatch(pattern, text) is not None
    except re2.error:
        return False


@RULES.rule("observability-mode", "remove observability_mode")
def observability_mode(wiring: Wiring) -> Iterator[Wrong]:
    if field(wiring.processor, "observability_mode") is True:
        yield Wrong(wiring.processor, "observability_mode", "Envoy ignores every answer of the service: nothing is enforced")


@RULES.rule("immediate-response", "remove disable_immediate_response")
def immediate_response(wiring: Wiring) -> Iterator[Wrong]:
    if field(wiring.processor, "disable_immediate_response") is True:
        what = "every refusal of the service becomes a 500 instead of its own status and words"
        yield Wrong(wiring.processor, "disable_immediate_response", what)


@RULES.rule("route-cache", "remove disable_clear_route_cache and route_cache_action")
def route_cache(wiring: Wiring) -> Iterator[Wrong]:
    what = "the route is chosen before the service has decided: routing decisions have no effect"
    if field(wiring.processor, "disable_clear_route_cache") is True:
        yield Wrong(wiring.processor, "disable_clear_route_cache", what)
    if field(wiring.processor, "route_cache_action") in ("RETAIN", 2):
        yield Wrong(wiring.processor, "route_cache_action", what)


@RULES.rule("forward-rules", "remove forward_rules: the service is on your side")
def forward_rules(wiring: Wiring) -> Iterator[Wrong]:
    rules = field(wiring.processor, "forward_rules")
    shown, hidden = items(rules, "allowed_headers", "patterns"), items(rules, "disallowed_headers", "patterns")
    unseen = [name for name in NEEDED_HEADERS if (shown and not _any(shown, name)) or _any(hidden, name)]
    if unseen:
        yield Wrong(wiring.processor, "forward_rules", f"the service does not see {', '.join(unseen)}")


def _any(patterns: Any, header: str) -> bool:
    return any(string_matches(pattern, header) for pattern in patterns)


def string_matches(pattern: Node, header: str) -> bool:
    """Envoy's StringMatcher, for names that are lower case."""
    tests: Mapping[str, Callable[[str], bool]] = {
        "exact": header.__eq__,
        "prefix": header.startswith,
        "suffix": header.endswith,
        "contains": header.__contains__,
    }
    if any(test(str(field(pattern, kind)).lower()) for kind, test in tests.items() if field(pattern, kind) is not None):
        return True
    return _matches(field(pattern, "safe_regex", "regex"), header)
