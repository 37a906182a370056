"""Models that a request names beside its own, which the provider may ask by itself."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from headrace.ext_proc.core.lenses.call import Other, invalid

INSTEAD: Final = ("fallbacks", "models", "fallback_models")
"""Who answers where the model declines or fails: the name of Anthropic and LiteLLM, OpenRouter's, and others'."""

_ADVISER: Final = "advisor_"
"""Anthropic's tool that has another model advise this one (https://docs.anthropic.com/en/docs/agents-and-tools/tool-use)."""


def others_of(document: dict[str, Any]) -> tuple[Other, ...]:
    """Raises BodyError where one is written in a way that only a provider may understand."""
    found = [one for name in INSTEAD if document.get(name) for one in _instead(document[name], name)]
    found += _advisers(document.get("tools"), "tools")
    if tools := _added(document.get("messages")):
        found += _advisers(tools, "messages")
    return tuple(found)


def advise(others: Sequence[Other]) -> bool:
    """Whether any is asked beside the model, and not instead of it."""
    return any(other.param not in INSTEAD for other in others)


def _instead(given: Any, name: str) -> Iterator[Other]:
    if isinstance(given, str):  # "default": those that the provider has chosen for the model
        given = [given]
    if not isinstance(given, list):
        raise invalid(name, "a list of models")
    for one in given:
        yield Other(name, _name(one.get("model") if isinstance(one, dict) else one, name))


def _advisers(tools: Any, param: str) -> list[Other]:
    if not isinstance(tools, list):
        return []
    advisers = [tool for tool in tools if isinstance(tool, dict) and str(tool.get("type")).startswith(_ADVISER)]
    return [Other(param, _name(tool.get("model"), param)) for tool in advisers]


def _added(messages: Any) -> list[Any]:
    """The tools that Anthropic's blocks `tool_addition` define within the conversation. A prompt may have thousands of blocks."""
    found: list[Any] = []
    for message in messages if isinstance(messages, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if content.__class__ is list:
            found += [block["tool"] for block in content if block.__class__ is dict and "tool" in block]
    return [tool.get("definition") for tool in found if isinstance(tool, dict)]


def _name(model: Any, param: str) -> str:
    if not isinstance(model, str) or not model or not model.isprintable():
        raise invalid(param, "a list in which each names a model")
    return model
