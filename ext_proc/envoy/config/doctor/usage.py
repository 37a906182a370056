"""Rules on native usage: what must be wired where the gateway claims that it is."""

from collections.abc import Iterator
from typing import Final

from headrace.ext_proc.envoy.config.doctor.rule import Rules, Wrong
from headrace.ext_proc.envoy.config.doctor.wiring import Wiring, override, reads_usage, switched_off
from headrace.ext_proc.envoy.config.managers import calls_service, unwrapped
from headrace.ext_proc.envoy.config.names import NAMESPACE, USAGE_NAMESPACE
from headrace.ext_proc.envoy.config.nodes import Node, field, is_a, items, number

RULES = Rules()

ENVOY_EVENT_SIZE: Final = 8192
SMALLEST_EVENT_SIZE: Final = 1024 * 1024
"""Bytes. OpenAI's last event of a response repeats the prompt's instructions and tools, and the whole answer."""

HTTP_LOG: Final = "HttpGrpcAccessLogConfig"
KINDS: Final = {"json_to_metadata": "JSON answers", "sse_to_metadata": "streams"}


@RULES.rule("access-log", "run `headrace envoy patch`, which adds envoy.access_loggers.http_grpc to access_log")
def access_log(wiring: Wiring) -> Iterator[Wrong]:
    if not _claimed(wiring):
        return
    ours = [log for log in items(wiring.manager.config, "access_log") if _is_ours(field(log, "typed_config"), wiring)]
    if not ours:
        what = "the service is told that the access log settles leases, but none is sent to it: every lease stays at its reserve"
        yield Wrong(wiring.manager.config, "access_log", what)
    elif not any(_passes(field(log, "filter")) for log in ours):
        what = "a filter keeps entries of the access log back: leases of requests it leaves out stay at their reserve"
        yield Wrong(ours[0], "filter", what)


def _is_ours(log: Node, wiring: Wiring) -> bool:
    return is_a(log, HTTP_LOG) and calls_service(log, wiring.cluster_name)


def _passes(log_filter: Node) -> bool:
    """Whether an access log's filter lets every exchange of ours through."""
    if log_filter is None:
        return True
    if found := items(log_filter, "and_filter", "filters"):
        return all(map(_passes, found))
    if found := items(log_filter, "or_filter", "filters"):
        return any(map(_passes, found))
    matcher = field(log_filter, "metadata_filter", "matcher")
    exchange = [field(step, "key") for step in items(matcher, "path")] == ["exchange"]
    present = field(matcher, "value", "present_match") is True and field(matcher, "invert") is not True
    return field(matcher, "filter") == NAMESPACE and exchange and present


@RULES.rule("usage-filters", "run `headrace envoy patch`, which adds them behind ext_proc")
def usage_filters(wiring: Wiring) -> Iterator[Wrong]:
    for kind, answers in KINDS.items():
        found = [one for _, one in wiring.of_kind(kind) if reads_usage(one)]
        if _claimed(wiring) and not found:
            what = f"no {kind} filter writes to {USAGE_NAMESPACE}: the usage of {answers} is never read"
            yield Wrong(wiring.manager.config, "http_filters", what)


@RULES.rule("usage-disabled", "remove disabled")
def usage_disabled(wiring: Wiring) -> Iterator[Wrong]:
    for kind, answers in KINDS.items() if _claimed(wiring) else ():
        for one in (one for _, one in wiring.of_kind(kind) if reads_usage(one)):
            if field(one, "disabled") is True:
                yield Wrong(one, "disabled", f"{kind} is disabled: the usage of {answers} is never read")
            for place in wiring.places():
                off = switched_off(override(place, str(field(one, "name"))))
                if off is not None and switched_off(override(place, wiring.name)) is None:
                    yield Wrong(
                        off, "disabled", f"{kind} is disabled for requests that match here: the usage of {answers} is not read"
                    )


@RULES.rule("usage-order", "move the usage filters behind ext_proc, towards the router")
def usage_order(wiring: Wiring) -> Iterator[Wrong]:
    for kind in KINDS:
        for index, one in wiring.of_kind(kind):
            if reads_usage(one) and index < wiring.place:
                yield Wrong(one, "", f"{kind} stands before ext_proc: it reads what the service made of the answer, or nothing")


@RULES.rule("usage-matcher", "wrap the filter in the ExtensionWithMatcher that `headrace envoy config` writes")
def usage_matcher(wiring: Wiring) -> Iterator[Wrong]:
    why = {
        "json_to_metadata": "turns every JSON answer over the buffer limit into a 500",
        "sse_to_metadata": "ends Envoy with a segmentation fault at an event that is a JSON scalar (Envoy 1.40)",
    }
    for kind, harm in why.items():
        for _, one in wiring.of_kind(kind):
            if reads_usage(one) and not is_a(field(one, "typed_config"), "ExtensionWithMatcher"):
                yield Wrong(one, "typed_config", f"{kind} runs for every answer, not for models' alone: it {harm}")


@RULES.rule("event-size", "set max_event_size: 10485760, the most Envoy takes")
def event_size(wiring: Wiring) -> Iterator[Wrong]:
    for _, one in wiring.of_kind("sse_to_metadata"):
        rules = field(unwrapped(one), "response_rules")
        size = number(field(rules, "max_event_size"), ENVOY_EVENT_SIZE)
        if reads_usage(one) and 0 < size < SMALLEST_EVENT_SIZE:
            what = f"events over {size:g} bytes are skipped, among them the one with the usage of a long answer"
            yield Wrong(rules, "max_event_size", what)


@RULES.rule("content-types", r"set allow_content_types_regex: {regex: '(?i)application/json\s*(;.*)?'}")
def content_types(wiring: Wiring) -> Iterator[Wrong]:
    for _, one in wiring.of_kind("json_to_metadata"):
        rules = field(unwrapped(one), "response_rules")
        if reads_usage(one) and field(rules, "allow_content_types_regex") is None:
            what = "answers of type `application/json; charset=utf-8` are not read: Envoy compares the whole value"
            yield Wrong(rules, "allow_content_types", what)


def _claimed(wiring: Wiring) -> bool:
    return "access-log" in wiring.capabilities
