"""From pydantic's errors to problems: at the line, in words, with what would be right."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headrace.ext_proc.engine.policy.problems import Where, suggestion
from headrace.ext_proc.engine.policy.units import meant, seconds

M = TypeVar("M", bound=BaseModel)
Found = tuple[Where, str]
_SHOWN = 60  # characters of a wrong value that an error repeats


def validated(model: type[M], value: Any, problem: Callable[[Where, str], None]) -> M | None:
    """`value` as a `model`, or None after `problem` was told each place in it, and what is wrong there.

    Values are taken as JSON would have them: "5" is no number and 1 is no boolean, exactly as the JSON Schema says.
    """
    try:
        return model.model_validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        for where, message in _found(model, value, error.errors(include_url=False)):
            problem(where, message)
        return None


def _found(model: type[BaseModel], value: Any, errors: Iterable[ErrorDetails]) -> Iterator[Found]:
    placed = [(_place(value, error), error) for error in errors]
    for where, error in placed:
        # A list that lost its wrong items is "too short" only because of them.
        if error["type"] == "too_short" and any(len(other) > len(where) and other[: len(where)] == where for other, _ in placed):
            continue
        yield where, _message(model, value, where, error)


def _place(value: Any, error: ErrorDetails) -> Where:
    """The error's place in the document: pydantic's location without the tags of unions."""
    where: Where = ()
    steps = error["loc"]
    for index, step in enumerate(steps):
        if step == "[key]":
            break
        if _has(value, step) and not _is_tag(value, steps[index : index + 2]):
            where, value = (*where, step), value[step]
        elif error["type"] == "missing" and index == len(steps) - 1:
            return where
    return where


def _is_tag(value: Any, steps: Sequence[str | int]) -> bool:
    """Whether the first step is the tag of a union, which is the name of one of the mapping's keys, and the second another key."""
    return len(steps) > 1 and _has(value, steps[1]) and not _has(value[steps[0]], steps[1])


def _has(value: Any, step: str | int) -> bool:
    if isinstance(value, dict):
        return step in value
    return isinstance(value, list) and isinstance(step, int) and step < len(value)


def _message(model: type[BaseModel], value: Any, where: Where, error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key; {suggestion(str(where[-1]), keys_at(model.model_json_schema(), where[:-1]))}"
    if kind == "missing":
        return f"{error['loc'][-1]!r} is missing"
    if kind == "literal_error":
        wrong = where[-1] if error["loc"][-1] == "[key]" else _at(value, where)
        schema = model.model_json_schema()
        return _none_of(wrong, context["expected"], mapping_at(schema, where) or list_at(schema, where))
    wrong = _at(value, where)
    shown = _shown(wrong)
    if kind == "too_long" and isinstance(wrong, dict):
        return f"holds {', '.join(map(str, wrong))} where one is due; begin each with a '- ' of its own"
    if kind in ("too_short", "string_too_short") and context["min_length"] == 1:
        return "must not be empty"
    template = _MESSAGES.get(kind)
    said = template.format(shown=shown, **context) if template else _own(error, shown)
    return f"{said}; {hint}" if (hint := _hint(model, value, where, template, context.get("le"))) else said


def _hint(model: type[BaseModel], value: Any, where: Where, template: str | None, most: float | None) -> str:
    """What would be right, where what was written shows what was meant. most: what a number may be at most; beyond 1 it was
    meant as per cent.
    """
    wrong = _at(value, where)
    if template in (_NUMBER, _WHOLE):
        number = _number(wrong, _key(where))
        return f"did you mean {number}?" if number else ""
    if template == _MOST:
        return f"did you mean {wrong / 100:g}?" if most == 1 and wrong <= 100 else ""
    if template == _LIST:
        return f"did you mean [{wrong}]?" if isinstance(wrong, str) and _PLAIN.fullmatch(wrong) else ""
    if template is None and isinstance(wrong, dict):
        known = keys_at(model.model_json_schema(), where)
        close = "" if known & wrong.keys() else next((suggestion(key, known) for key in wrong), "")
        return close if close.startswith("did you mean") else ""
    if template != _MAPPING:
        return ""
    if where[:1] == ("overrides",) and where[2] == "set" and not isinstance(wrong, list):
        return "filters stand here with their settings, such as {pii: {mode: shadow}}"
    if isinstance(wrong, str) and where[:1] == ("filters",):
        return f"write '{wrong}: {{}}'"
    holds = mapping_at(model.model_json_schema(), where)
    return f"such as {holds}" if holds else "{} for none" if wrong is None else ""


def _number(wrong: Any, key: str) -> str:
    if isinstance(wrong, float):
        return f"{wrong:.0f}" if wrong.is_integer() else ""
    return meant(wrong, key) if isinstance(wrong, str) else ""


def _key(where: Where) -> str:
    """The nearest name: of the list that an item is in."""
    return next((step for step in reversed(where) if isinstance(step, str)), "")


def _own(error: ErrorDetails, shown: str) -> str:
    """The message of a validator of ours or of a filter's, which speaks for itself; else pydantic's, with the value."""
    if error["type"] == "value_error":
        return error["msg"].removeprefix("Value error, ")
    if "error" in error.get("ctx", {}) or error["type"] in ("pattern", "one_of"):
        return error["msg"]
    return f"{shown}: {error['msg'][:1].lower()}{error['msg'][1:]}"


def _none_of(wrong: Any, expected: str, more: str) -> str:
    """`expected` as pydantic lists literals: 'a', 'b' or 'c'. more: a mapping or a list that would be right too."""
    right = [_LITERALS.get(word, word.strip("'")) for word in expected.replace(" or ", ", ").split(", ")]
    choices = [*right, f"or {more}"] if more else right
    message = f"{_shown(wrong)} is {'none of' if len(choices) > 1 else 'not'} {', '.join(choices)}"
    if not isinstance(wrong, str):
        return message
    if wrong in right:
        return f"{message}; write it without quotes"
    if "sliding" in more and (length := seconds(wrong)):
        return f"{message}; did you mean {{sliding: {length}}}?"
    close = suggestion(wrong, right)
    return f"{message}; {close}" if close.startswith("did you mean") else message


def _at(value: Any, where: Where) -> Any:
    for step in where:
        value = value[step]
    return value


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


_PLAIN = re.compile(r"[A-Za-z][\w.@ ,*-]*")
"""Text that stands for itself in a list."""
_LITERALS = {"True": "true", "False": "false"}
_MAPPING = "must be a mapping of keys to values, not {shown}"
_LIST = "must be a list, not {shown}"
_NUMBER = "{shown} is not a number"
_WHOLE = "{shown} is not a whole number"
_MOST = "must be at most {le}, not {shown}"
_MESSAGES: Mapping[str, str] = {
    "bool_parsing": "{shown} is neither true nor false",
    "bool_type": "{shown} is neither true nor false",
    "decimal_parsing": _NUMBER,
    "decimal_type": _NUMBER,
    "dict_type": _MAPPING,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "frozen_set_type": _LIST,
    "greater_than": "must be more than {gt}, not {shown}",
    "greater_than_equal": "must be at least {ge}, not {shown}",
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "{shown} is too large",
    "int_type": _WHOLE,
    "is_instance_of": _NUMBER,
    "json_invalid": "half of a surrogate pair stands here, which is no character",
    "less_than": "must be less than {lt}, not {shown}",
    "less_than_equal": _MOST,
    "list_type": _LIST,
    "model_attributes_type": _MAPPING,
    "model_type": _MAPPING,
    "set_type": _LIST,
    "string_too_long": "longer than {max_length} characters",
    "string_too_short": "shorter than {min_length} characters",
    "string_type": "must be a string, not {shown}; put it in quotes if it is meant as text",
    "too_long": "must hold no more than {max_length}",
    "too_short": "must hold at least {min_length}",
    "tuple_type": _LIST,
}


def keys_at(schema: Mapping[str, Any], where: Where) -> frozenset[str]:
    """The keys that a JSON Schema knows for the mapping at `where`."""
    return frozenset(name for node in _nodes_at(schema, where) for name in node.get("properties", ()))


def mapping_at(schema: Mapping[str, Any], where: Where) -> str:
    """The keys that a mapping at `where` must have, as {input: …, output: …}; empty when there may be no mapping."""
    required = [name for node in _nodes_at(schema, where) for name in node.get("required", ())]
    return f"{{{', '.join(f'{name}: …' for name in required)}}}" if required else ""


def list_at(schema: Mapping[str, Any], where: Where) -> str:
    """What a list at `where` may hold, as [GET /v1/models, …]; empty when no list has an example there."""
    lists = [node["examples"][0] for node in _nodes_at(schema, where) if node.get("type") == "array" and "examples" in node]
    return f"[{lists[0][0]}, …]" if lists else ""


def _nodes_at(schema: Mapping[str, Any], where: Where) -> list[Mapping[str, Any]]:
    nodes = list(_alternatives(schema, schema))
    for step in where:
        nodes = [found for node in nodes for child in _children(node, step) for found in _alternatives(child, schema)]
    return nodes


def _alternatives(node: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if "$ref" in node:
        node = root["$defs"][node["$ref"].rsplit("/", 1)[-1]]
    yield node
    for choice in (*node.get("oneOf", ()), *node.get("anyOf", ())):
        yield from _alternatives(choice, root)


def _children(node: Mapping[str, Any], step: str | int) -> Iterator[Mapping[str, Any]]:
    if isinstance(step, int):
        candidates = [node.get("items")]
    else:
        named = node.get("properties", {}).get(step)
        candidates = [named] if named else [node.get("additionalProperties"), *node.get("patternProperties", {}).values()]
    yield from (child for child in candidates if isinstance(child, Mapping))
