"""Models that a request names beside its own, which the provider may ask by itself."""

from collections.abc import Iterator
from typing import Any, Final

from headrace.ext_proc.core.lenses.call import Other, invalid

_INSTEAD: Final = ("fallbacks", "models")
"""Who answers where the model declines or fails: Anthropic's and LiteLLM's name for them, and OpenRouter's."""

_ADVISER: Final = "advisor_"
"""Anthropic's tool that has another model advise this one (https://docs.anthropic.com/en/docs/agents-and-tools/tool-use)."""


def others_of(document: dict[str, Any]) -> tuple[Other, ...]:
    """Raises BodyError where one is written in a way that only a provider may understand."""
    if not any(document.get(name) for name in (*_INSTEAD, "tools")):
        return ()
    return (*(one for name in _INSTEAD for one in _instead(document, name)), *_advisers(document.get("tools")))


def _instead(document: dict[str, Any], name: str) -> Iterator[Other]:
    given = document.get(name)
    if isinstance(given, str):  # "default": those that the provider has chosen for the model
        given = [given]
    if given is not None and not isinstance(given, list):
        raise invalid(name, "a list of models")
    for one in given or ():
        yield Other(name, _name(one.get("model") if isinstance(one, dict) else one, name))


def _advisers(tools: Any) -> Iterator[Other]:
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict) and str(tool.get("type")).startswith(_ADVISER):
            yield Other("tools", _name(tool.get("model"), "tools"))


def _name(model: Any, param: str) -> str:
    if not isinstance(model, str) or not model or not model.isprintable():
        raise invalid(param, "a list in which each names a model")
    return model
