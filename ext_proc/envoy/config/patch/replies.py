"""What Envoy refuses because of Headrace, in words that a model's caller can read; other replies of a listener stay as they are."""

from typing import Any

from headrace.ext_proc.envoy.config.local_replies import replies_to_calls
from headrace.ext_proc.envoy.config.managers import Manager
from headrace.ext_proc.envoy.config.names import REASON_HEADER
from headrace.ext_proc.envoy.config.nodes import Node, field, items
from headrace.ext_proc.envoy.config.patch.edit import Editor
from headrace.ext_proc.envoy.config.patch.listed import ensure
from headrace.ext_proc.envoy.config.tree import tree


def local_replies(editor: Editor, manager: Manager) -> bool:
    """Behind the mappers that are there: the first that applies wins. Returns whether anything had to change."""
    wanted = [tree(one) for one in replies_to_calls()]
    there = field(manager.config, "local_reply_config")
    if there is None:
        editor.set(manager.config, "local_reply_config", {"mappers": wanted})
        return True
    changed = [_ensured(editor, there, one) for one in wanted]
    return any(changed)


def _ensured(editor: Editor, replies: Any, wanted: Any) -> bool:
    return ensure(editor, replies, "mappers", wanted, lambda mapper: _known_by(mapper) == _known_by(wanted))


def _known_by(mapper: Node) -> tuple[Node, bool] | None:
    """The reason, and whether it is in Anthropic's dialect; None for a mapper of somebody else's."""
    for option in items(mapper, "headers_to_add"):
        if field(option, "header", "key") == REASON_HEADER:
            return field(option, "header", "value"), field(mapper, "body_format_override", "json_format", "type") is not None
    return None
