"""Messages as plain trees, the way Envoy's YAML and JSON spell them."""

from collections.abc import Iterator
from typing import Any, TypeAlias

import betterproto2

Tree: TypeAlias = dict[str, Any]
EXT_PROC_TYPE = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"


def tree(message: betterproto2.Message) -> Tree:
    """The message as nested dicts and lists in Envoy's snake_case; defaults are left out, but for those worth seeing."""
    found: Tree = message.to_dict(casing=betterproto2.Casing.SNAKE)
    for processor in _typed(found, EXT_PROC_TYPE):
        processor["failure_mode_allow"] = False
        processor["processing_mode"].setdefault("response_body_mode", "NONE")
    return found


def _typed(node: Any, name: str) -> Iterator[Tree]:
    """Every `typed_config` of one type within the tree."""
    if isinstance(node, dict):
        if str(node.get("@type", "")).endswith(name):
            yield node
        for value in node.values():
            yield from _typed(value, name)
    elif isinstance(node, list):
        for item in node:
            yield from _typed(item, name)
