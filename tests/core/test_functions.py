"""Tools of a chat count as OpenAI's formula has it, and what it has no rule for counts as JSON."""

import json
from typing import Any

import pytest
import toktok
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.cli.simulate import prompt as cookbook
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.lenses import Prompt, read_call
from headrace.ext_proc.core.lenses.functions import END, ENUM, ENUM_ITEM, FUNCTION, PROPERTIES, PROPERTY

WEATHER = {
    "name": "get_current_weather",
    "description": "Get the current weather in a given location",
    "parameters": {
        "type": "object",
        "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {"type": "string", "description": "The unit of temperature to return", "enum": ["celsius", "fahrenheit"]},
        },
        "required": ["location"],
    },
}
ASKED = [
    {"role": "system", "content": "You are a helpful assistant that can answer to questions about the weather."},
    {"role": "user", "content": "What's the weather like in San Francisco?"},
]


def prompt(*functions: Any, messages: Any = ()) -> Prompt:
    tools = [{"type": "function", "function": function} for function in functions]
    return read_call(Endpoint.CHAT, {"model": "gpt-4o", "messages": list(messages), "tools": tools}).prompt


def tokens(found: Prompt) -> int:
    return found.overhead + sum(map(int, toktok.batch_count(list(found.texts), "o200k_base")))


def test_the_cookbooks_example_has_the_tokens_that_the_api_reports() -> None:
    assert tokens(prompt(WEATHER, messages=ASKED)) == 101


names = st.text("abc_ .", min_size=1, max_size=8)
properties = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "number"])}, optional={"description": names, "enum": st.lists(names, max_size=3)}
)
parameters = st.fixed_dictionaries({"type": st.just("object"), "properties": st.dictionaries(names, properties, max_size=3)})
functions = st.fixed_dictionaries({"name": names, "description": names, "parameters": parameters})


@given(st.lists(functions, min_size=1, max_size=3))
@settings(max_examples=60, deadline=None)
def test_functions_count_as_the_simulated_servers_count_them(offered: list[dict[str, Any]]) -> None:
    """Which follow the cookbook's own code; it takes one dot from the end of a description, they take all."""
    plain = json.loads(json.dumps(offered).replace(".", ""))
    declared = [(function["name"], function["description"], function["parameters"]) for function in plain]
    assert tokens(prompt(*plain)) == 3 + cookbook.functions(declared)


ODD: list[tuple[Any, tuple[str, ...], int]] = [
    ({"name": "f"}, ("f:",), FUNCTION),
    ({"name": 3, "description": "Ends.", "strict": True}, ("3:Ends",), FUNCTION),
    ({"name": "f", "x": 1}, ("f:", '{"x": 1}'), FUNCTION),
    ({"name": "f", "parameters": [1]}, ("f:", "[1]"), FUNCTION),
    ({"name": "f", "parameters": {"properties": 7}}, ("f:", '{"properties": 7}'), FUNCTION),
    ({"name": "f", "parameters": {"properties": {}, "$defs": {}}}, ("f:", '{"$defs": {}}'), FUNCTION),
    ({"name": "f", "parameters": {"properties": {"a": True}}}, ("f:", "a:true"), FUNCTION + PROPERTIES + PROPERTY),
    (
        {"name": "f", "parameters": {"properties": {"a": {"items": {"type": "object"}, "type": ["array"]}}}},
        ("f:", 'a:["array"]:', '{"items": {"type": "object"}}'),
        FUNCTION + PROPERTIES + PROPERTY,
    ),
    (
        {"name": "f", "parameters": {"properties": {"a": {"enum": ["x", 1]}}}},
        ("f:", "a::", "x", "1"),
        FUNCTION + PROPERTIES + PROPERTY + ENUM + 2 * ENUM_ITEM,
    ),
    ({"name": "f", "parameters": {"properties": {"a": {"enum": 1}}}}, ("f:", "a::"), FUNCTION + PROPERTIES + PROPERTY),
]


@pytest.mark.parametrize(("function", "texts", "overhead"), ODD, ids=[json.dumps(function) for function, _, _ in ODD])
def test_what_the_formula_has_no_rule_for_is_counted_all_the_same(function: Any, texts: tuple[str, ...], overhead: int) -> None:
    found = prompt(function)
    assert (found.texts, found.overhead, found.exact) == (texts, 3 + overhead + END, False)


@pytest.mark.parametrize("tools", [{"a": 1}, [{"type": "web_search"}], [3], ["f"], [{"function": "f"}]])
def test_tools_of_any_other_shape_are_estimated_by_their_json(tools: Any) -> None:
    found = read_call(Endpoint.CHAT, {"model": "m", "messages": [], "tools": tools}).prompt
    listed = tools if isinstance(tools, list) else [tools]
    assert (found.texts, found.overhead, found.exact) == (tuple(map(json.dumps, listed)), 3 + END, False)
