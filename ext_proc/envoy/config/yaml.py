"""Trees as YAML that people read: block style, with the reason above each setting that matters."""

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import SingleQuotedScalarString

COMMENTS: Final[Mapping[str, str]] = {
    "early_header_mutation_extensions": "Before a route is chosen: no client names its own pool.",
    "path_with_escaped_slashes_action": "Headrace and the upstream see one and the same path.",
    "local_reply_config": "What Envoy itself refuses, in the caller's dialect.\n"
    "The service's own refusals have their reason as details.",
    "headers_with_underscores_action": "Some servers read x_headrace_route as x-headrace-route.",
    "stream_idle_timeout": "A model may think for minutes before its first token.",
    "request_body_buffer_limit": "Room for a whole prompt (bytes); Envoy's 1 MiB answers 413.\n"
    "Also the most that a JSON answer may have whose usage is read here.",
    "route.timeout": "The default of 15 s would cut long answers.",
    "request_headers_to_remove": "Decisions stay inside.",
    "route_config.response_headers_to_add": "Written from the service's metadata; a key that is missing adds no header.",
    "HttpProtocolOptions.retry_policy": "A worker that died is away for a second; the next one takes its share.",
    "grpc_service.initial_metadata": "Tells the service what this gateway does by itself.",
    "failure_mode_allow": "Fail closed: without the service there is no answer.",
    "processing_mode": "The prompt whole, so that it can be counted before a route is chosen. The answer stays in Envoy …",
    "allow_mode_override": "… unless the service asks for it, in its answer to the response headers.",
    "message_timeout": "Longer than the slowest filter; Envoy's default is 200 ms.",
    "response_attributes": "Tells a reply of Envoy's own from a model's answer.",
    "metadata_options": "Without it Envoy drops the service's metadata silently.",
    "mutation_rules": "An edit Envoy does not allow (host, x-envoy-*) is an error, not silently dropped.",
    "suppress_envoy_headers": "No x-envoy-* headers for the upstream.",
    "xds_matcher": "Only where the service's metadata has `settle`: it wants the usage of this answer.",
    "max_event_size": "Envoy's default of 8 KiB skips the event that carries the usage of long answers.",
    "allow_content_types_regex": "With parameters too, such as charset.",
    "access_log": "One entry to the service for each exchange, also when the client hung up: it settles the lease.",
    "circuit_breakers": "Envoy's default refuses the 1025th request at once.",
    "explicit_http_config.http2_protocol_options": "gRPC needs HTTP/2.",
    "health_checks": "A worker that drains gets no new requests.",
    "common_http_protocol_options.idle_timeout": "Below the 5 s after which uvicorn closes idle connections,\n"
    "so that none is reused while it closes.",
    "tcp_keepalive": "Keeps a connection known to firewalls while the model is silent.",
}
"""End of a setting's path (keys only, joined by dots) → the comment above it."""

ITEM: Final = "[]"
"""In a path, after the key of a list: one of its items."""

PLAIN: Final = re.compile(r"[\w/][\w ./:,+-]*")
"""Strings without a character that means something in YAML; colons only inside words, which ruamel sees to."""

AMBIGUOUS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"})
"""Words that Envoy's YAML parser or another does not take for a string."""


@dataclass(frozen=True)
class Style:
    """Columns by which a nested mapping, and the content of a list's items, are moved right; `offset` is the dash's."""

    mapping: int = 2
    sequence: int = 4
    offset: int = 2


def editor(style: Style) -> YAML:
    """A round-trip parser and emitter that leaves quotes, order and long lines alone."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 2**20
    yaml.indent(mapping=style.mapping, sequence=style.sequence, offset=style.offset)
    return yaml


def dump(document: Any, style: Style = Style()) -> str:
    text = io.StringIO()
    editor(style).dump(document, text)
    return text.getvalue()


def render(tree: Mapping[str, Any], header: str = "") -> str:
    """The tree as a commented YAML document, `header` in front of it as a comment."""
    document = commented(tree, 0, Style())
    return "".join(f"# {line}".rstrip() + "\n" for line in header.splitlines()) + dump(document)


def commented(value: Any, column: int, style: Style, path: str = "") -> Any:
    """`value` as ruamel's nodes with the comments of COMMENTS. column: where it will stand; path: the keys above it."""
    if isinstance(value, Mapping):
        return _mapping(value, column, style, path)
    if isinstance(value, list):
        return CommentedSeq(commented(item, column, style, path + ITEM) for item in value)
    return quoted(value)


def quoted(value: Any) -> Any:
    """Strings that some parser might not read as the string they are, in quotes; in mappings and lists too."""
    if isinstance(value, Mapping):
        return {key: quoted(child) for key, child in value.items()}
    if isinstance(value, list):
        return [quoted(item) for item in value]
    if isinstance(value, str) and (value.lower() in AMBIGUOUS or not PLAIN.fullmatch(value)):
        return SingleQuotedScalarString(value)
    return value


def _mapping(value: Mapping[str, Any], column: int, style: Style, path: str) -> CommentedMap:
    node = CommentedMap()
    for key, child in value.items():
        below = f"{path}.{key}"
        step = style.sequence if isinstance(child, list) else style.mapping
        node[key] = commented(child, column + step, style, below)
        # Above the first key of a list's item it would come between the dash and the key.
        if (len(node) > 1 or not path.endswith(ITEM)) and (text := _comment(below)):
            node.yaml_set_comment_before_after_key(key, before=text, indent=column)
    return node


def _comment(path: str) -> str | None:
    keys = path.replace(ITEM, "")
    return next((text for end, text in COMMENTS.items() if keys.endswith(f".{end}")), None)
