"""What both directions share: checked access to a document of a stranger, and the words each API has for the same thing."""

import json
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.json_body import encode, parse_lenient

Document = dict[str, Any]

FINISH: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Anthropic's stop_reason → OpenAI's finish_reason; `pause_turn` and what is new count as a stop."""

STOP: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}

ERRORS_TO_OPENAI: Final = {
    "invalid_request_error": "invalid_request_error",
    "authentication_error": "authentication_error",
    "permission_error": "permission_error",
    "not_found_error": "not_found_error",
    "request_too_large": "invalid_request_error",
    "rate_limit_error": "rate_limit_error",
}
"""Anthropic's error types; any other is a server_error."""

ERRORS_TO_ANTHROPIC: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
"""By status; any other is an api_error."""


class Untranslatable(HeadraceError):
    """A request that means something the other API cannot be asked for; the message is for the caller. param: the member."""

    def __init__(self, param: str, message: str) -> None:
        super().__init__(message)
        self.param = param


_NOTHING: Final[tuple[Any, ...]] = (None, False, [], {}, "")
"""Values of a member that asks for nothing."""


def refuse(document: Mapping[str, Any], *names: str, within: str = "") -> None:
    """Raises Untranslatable where one of the members asks for something. within: the member of the request that has them."""
    for name in names:
        if document.get(name) not in _NOTHING:
            raise Untranslatable(within or name[:100], f"'{name[:100]}' is not available for this model")


def refuse_others(document: Mapping[str, Any], known: Set[str]) -> None:
    """Raises Untranslatable where a member that is none of these asks for something."""
    refuse(document, *(name for name in document if name not in known))


def unavailable(param: str, kind: Any) -> Untranslatable:
    return Untranslatable(param, f"content of the type {str(kind)[:40]!r} is not available for this model")


def mapping(value: Any) -> Document:
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> Sequence[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string(value: Any) -> str:
    return value if isinstance(value, str) else ""


def count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 2**53 else 0


def renamed(document: Mapping[str, Any], names: Mapping[str, str]) -> Document:
    """The members of these names that are there and not null, under their new names."""
    return {new: document[old] for old, new in names.items() if document.get(old) is not None}


def arguments(value: Any) -> Document:
    """A tool's arguments, written by a model: text that should be a JSON object."""
    return mapping(parse_lenient(value)) if isinstance(value, str) else mapping(value)


def is_object(value: Any) -> bool:
    return isinstance(parse_lenient(value) if isinstance(value, str) else value, dict)


def text_of(value: Any) -> str:
    """JSON as text, for a member that is text in the other API."""
    return encode(value).decode("utf-8") if value is not None else json.dumps({})


def texts(content: Any) -> str:
    """The text of a content that is a string or a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(string(part.get("text")) for part in mappings(content))


def parts_of(content: Any, param: str) -> Sequence[Document]:
    """The parts of a content that is a list of them. Raises Untranslatable for anything else in it."""
    parts = mappings(content)
    if isinstance(content, list) and len(parts) < len(content):
        raise Untranslatable(param, "content that is neither text nor an object is not available for this model")
    return parts


def thought_of(said: Mapping[str, Any]) -> str:
    """What a server of OpenAI's API tells of its thinking, in a message or a delta: vLLM and OpenRouter say `reasoning`."""
    return string(said.get("reasoning_content")) or string(said.get("reasoning"))


def stop_reason(finish: Any, *, called: bool) -> str:
    """Anthropic's word for OpenAI's finish_reason, which is `stop` where the request demanded the call of one tool."""
    reason = STOP.get(string(finish), "end_turn")
    return "tool_use" if called and reason == "end_turn" else reason


def only_text(content: Any, param: str) -> str:
    """As `texts`. Raises Untranslatable for a part that is none."""
    for part in parts_of(content, param):
        if part.get("type") != "text":
            raise unavailable(param, part.get("type"))
    return texts(content)
