"""One connection manager and its listener, patched."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from headrace.ext_proc.envoy.config.access_log import access_log
from headrace.ext_proc.envoy.config.document import Document
from headrace.ext_proc.envoy.config.elsewhere import chosen_routes, table_asks_others
from headrace.ext_proc.envoy.config.filters import own_headers_removed, processing_filter
from headrace.ext_proc.envoy.config.managers import Manager, calls_service, decompresses_requests_alone, filter_kind, unwrapped
from headrace.ext_proc.envoy.config.names import (
    CANDIDATES_NAMESPACE,
    EARLY_HEADERS,
    JSON_FILTER,
    PICKED_NAMESPACE,
    ROUTE_HEADER,
    SSE_FILTER,
    UsageReader,
)
from headrace.ext_proc.envoy.config.nodes import Node, field, items, line_of, number
from headrace.ext_proc.envoy.config.patch.edit import Editor
from headrace.ext_proc.envoy.config.patch.listed import absent, ensure
from headrace.ext_proc.envoy.config.patch.replies import local_replies
from headrace.ext_proc.envoy.config.patch.values import Attachment, Report
from headrace.ext_proc.envoy.config.routes import response_headers
from headrace.ext_proc.envoy.config.tree import tree
from headrace.ext_proc.envoy.config.usage import json_usage_filter, sse_usage_filter

NEAR_UPSTREAM: Final = frozenset(
    {"aws_lambda", "aws_request_signing", "credential_injector", "decompressor", "dynamic_forward_proxy", "gcp_authn"}
    | {"router", "upstream_codec"}
)
"""Filters that must see the request as Headrace leaves it (they sign it, or look up its host), or the answer before Headrace."""

USAGE_FILTERS: Final = frozenset({JSON_FILTER, SSE_FILTER})
ENVOY_BUFFER_LIMIT: Final = 1024 * 1024

Step = tuple[str, Callable[[], bool]]
"""What is changed, and what changes it: it returns whether anything had to be."""


def patch_manager(document: Document, editor: Editor, manager: Manager, attachment: Attachment, report: Report) -> None:
    """Filters, access log, early header removal, buffer limit, and the headers of an inline route table."""
    where = f"listener {manager.listener_name}"
    steps: list[Step] = [
        ("ext_proc filter", lambda: _ext_proc(document, editor, manager, attachment)),
        *(_usage_steps(editor, manager) if attachment.usage == UsageReader.GATEWAY else _no_usage_steps(editor, manager)),
        ("removal of clients' x-headrace-* headers", lambda: _early_removal(editor, manager)),
        ("words of Envoy's refusals", lambda: local_replies(editor, manager)),
        ("buffer limit", lambda: _buffer_limit(editor, manager, attachment.body_limit)),
        ("headers of the route table", lambda: _route_headers(editor, manager)),
    ]
    report.changes += [f"{where}: {what}" for what, step in steps if step()]
    report.notes += [f"{where}: {note}" for note in _notes(document, manager)]
    if not chosen_routes(field(manager.config, "route_config")):
        report.unrouted.append(manager.listener_name)


def _usage_steps(editor: Editor, manager: Manager) -> list[Step]:
    return [
        ("usage filter for JSON", lambda: _after_ext_proc(editor, manager, JSON_FILTER, tree(json_usage_filter()), 1)),
        ("usage filter for events", lambda: _after_ext_proc(editor, manager, SSE_FILTER, tree(sse_usage_filter()), 2)),
        ("access log", lambda: _access_log(editor, manager)),
    ]


def _no_usage_steps(editor: Editor, manager: Manager) -> list[Step]:
    """The service reads the answers: what an earlier run has put in for Envoy to do so goes."""
    config = manager.config
    return [
        ("no usage filters", lambda: absent(editor, config, "http_filters", lambda one: field(one, "name") in USAGE_FILTERS)),
        ("no access log", lambda: absent(editor, config, "access_log", _is_our_log)),
    ]


def _ext_proc(document: Document, editor: Editor, manager: Manager, attachment: Attachment) -> bool:
    mine = next((one for one in items(manager.config, "http_filters") if _is_ours(one)), None)
    candidates, picks = _asks_others(manager, mine), PICKED_NAMESPACE in _received(mine)
    wanted = tree(processing_filter(attachment.message_timeout, usage=attachment.usage, candidates=candidates, picks=picks))
    if mine is not None:
        wanted["name"] = field(mine, "name")  # per-route settings refer to the filter by its name …
        if field(mine, "disabled") is True:
            wanted["disabled"] = True  # … and may be what enables it
    return ensure(editor, manager.config, "http_filters", wanted, _is_ours, _place(document, manager))


def _asks_others(manager: Manager, mine: Node) -> bool:
    """The service names other upstreams where the routes ask them. Of routes that come from elsewhere it is told once, and kept."""
    table = field(manager.config, "route_config")
    return table_asks_others(table) if table is not None else CANDIDATES_NAMESPACE in _received(mine)


def _received(mine: Node) -> Sequence[Node]:
    """The namespaces of the service's metadata that Envoy takes."""
    return items(unwrapped(mine), "metadata_options", "receiving_namespaces", "untyped")


def _is_ours(http_filter: Node) -> bool:
    return filter_kind(http_filter) == "ext_proc" and calls_service(unwrapped(http_filter))


def _place(document: Document, manager: Manager) -> int:
    """Behind everything that knows the caller or limits him, in front of everything that needs the finished request."""
    filters = items(manager.config, "http_filters")
    if "router" not in map(filter_kind, filters):
        line = line_of(manager.config, "http_filters")
        raise document.error(line, f"listener {manager.listener_name}: http_filters has no router; Envoy needs one at the end")
    place = len(filters)
    while place and _is_near_upstream(filters[place - 1]):
        place -= 1
    return place


def _is_near_upstream(http_filter: Node) -> bool:
    return filter_kind(http_filter) in NEAR_UPSTREAM and not decompresses_requests_alone(http_filter)


def _after_ext_proc(editor: Editor, manager: Manager, name: str, wanted: Any, distance: int) -> bool:
    filters = items(manager.config, "http_filters")
    ext_proc = next(index for index, one in enumerate(filters) if _is_ours(one))
    return ensure(editor, manager.config, "http_filters", wanted, lambda one: field(one, "name") == name, ext_proc + distance)


def _access_log(editor: Editor, manager: Manager) -> bool:
    return ensure(editor, manager.config, "access_log", tree(access_log()), _is_our_log)


def _is_our_log(log: Node) -> bool:
    return calls_service(field(log, "typed_config"))


def _early_removal(editor: Editor, manager: Manager) -> bool:
    wanted = tree(own_headers_removed())
    name = "early_header_mutation_extensions"
    return ensure(editor, manager.config, name, wanted, lambda one: field(one, "name") == EARLY_HEADERS, 0)


def _buffer_limit(editor: Editor, manager: Manager, body_limit: int) -> bool:
    name = "per_connection_buffer_limit_bytes"
    if number(field(manager.listener, name), ENVOY_BUFFER_LIMIT) >= body_limit:
        return False
    editor.set(manager.listener, name, body_limit)
    return True


def _route_headers(editor: Editor, manager: Manager) -> bool:
    table = field(manager.config, "route_config")
    if table is None:
        return False
    is_kept = ROUTE_HEADER not in (str(name).lower() for name in items(table, "request_headers_to_remove"))
    if is_kept:
        editor.insert(table, "request_headers_to_remove", ROUTE_HEADER)
    ours = {str(field(one, "header", "key")).lower() for one in items(table, "response_headers_to_add")}
    added = [option for option in map(tree, response_headers()) if option["header"]["key"] not in ours]
    for option in added:
        editor.insert(table, "response_headers_to_add", option)
    return is_kept or bool(added)


def _notes(document: Document, manager: Manager) -> Iterator[str]:
    for kind in ("rds", "scoped_routes"):
        if field(manager.config, kind) is not None:
            yield (
                f"the routes come from elsewhere ({document.name}:{line_of(manager.config, kind)}); there, remove "
                f"{ROUTE_HEADER} from requests, and add the response_headers_to_add that `headrace envoy config` writes"
            )
