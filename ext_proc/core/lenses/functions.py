"""Tools of a chat, by the formula that OpenAI publishes for functions.

https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken, section 7, with the numbers of the o200k models. It covers
functions whose properties have a type, a description and an enum; whatever else a schema says is counted as its JSON beside that.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from headrace.ext_proc.core.lenses.call import Texts

FUNCTION: Final = 7
PROPERTIES: Final = 3
PROPERTY: Final = 3
ENUM: Final = -3
ENUM_ITEM: Final = 3
END: Final = 12

_OF_FUNCTION: Final = frozenset({"name", "description", "parameters", "strict"})
_OF_PARAMETERS: Final = frozenset({"type", "properties", "required", "additionalProperties", "$schema"})
_OF_PROPERTY: Final = frozenset({"type", "description", "enum"})


def declare(texts: Texts, tools: Any) -> None:
    """`tools` as the request has them, of any shape; an estimate, as models render them by rules of their own."""
    listed = tools if isinstance(tools, list) else [tools]
    for tool in listed:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            _function(texts, function)
        else:
            texts.estimate(json.dumps(tool))
    texts.estimate(tokens=END)


def _function(texts: Texts, function: Mapping[str, Any]) -> None:
    texts.estimate(f"{_said(function, 'name')}:{_said(function, 'description')}", FUNCTION)
    _beside(texts, function, _OF_FUNCTION)
    parameters = function.get("parameters")
    if not isinstance(parameters, dict) or not isinstance(parameters.get("properties", {}), dict):
        texts.estimate(json.dumps(parameters) if parameters else "")
        return
    _beside(texts, parameters, _OF_PARAMETERS)
    if properties := parameters.get("properties"):
        texts.estimate(tokens=PROPERTIES)
        for name, schema in properties.items():
            _property(texts, name, schema)


def _property(texts: Texts, name: str, schema: Any) -> None:
    if not isinstance(schema, dict):
        texts.estimate(f"{name}:{json.dumps(schema)}", PROPERTY)
        return
    texts.estimate(f"{name}:{_said(schema, 'type')}:{_said(schema, 'description')}", PROPERTY)
    _beside(texts, schema, _OF_PROPERTY)
    choices = schema.get("enum")
    if isinstance(choices, list) and choices:
        texts.estimate(tokens=ENUM)
        for choice in choices:
            texts.estimate(choice if isinstance(choice, str) else json.dumps(choice), ENUM_ITEM)


def _said(members: Mapping[str, Any], name: str) -> str:
    value = members.get(name)
    text = value if isinstance(value, str) else "" if value is None else json.dumps(value)
    return text.removesuffix(".")


def _beside(texts: Texts, members: Mapping[str, Any], counted: frozenset[str]) -> None:
    """What the formula knows nothing of, and a model may be shown all the same."""
    others = {name: value for name, value in members.items() if name not in counted}
    if others:
        texts.estimate(json.dumps(others))
