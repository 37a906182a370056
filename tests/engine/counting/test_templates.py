"""Chats as other models' templates render them: the ones that are built in, and Jinja of the operator's own."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.engine.counting.jinja import template_from
from headrace.ext_proc.engine.counting.templates import NotRendered, llama3, llama3_1
from tests.engine.counting.conftest import Counting
from tests.tokenizer_files import words, write

LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}"
    "{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim "
    "+ '<|eot_id|>' %}"
    "{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
"""The chat_template of Llama 3's tokenizer_config.json."""

MARKERS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
CONFIG = {"chat_template": LLAMA3, "bos_token": {"content": MARKERS[0]}, "eos_token": "<|eot_id|>"}
CHATS = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": st.text(" \nabcé", max_size=12)}),
    min_size=1,
    max_size=5,
).map(lambda messages: {"model": "m", "messages": messages})


def chat(*contents: Any, role: str = "user", **members: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": role, "content": content} for content in contents], **members}


@given(asked=CHATS)
@settings(max_examples=100, deadline=None)
def test_llamas_texts_are_what_its_template_puts_between_the_markers(tmp_path_factory: pytest.TempPathFactory, asked: Any) -> None:
    path = write(tmp_path_factory.getbasetemp() / "llama3.json", CONFIG)
    (rendered,) = template_from(path, None)(asked).texts
    for marker in MARKERS:
        rendered = rendered.replace(marker, "\0")
    found = llama3(asked)
    assert found.texts == tuple(text for text in rendered.split("\0") if text)
    assert (found.overhead, found.exact) == (rendered.count("\0"), True)


def test_later_llamas_tell_the_date_in_a_system_message() -> None:
    asked = chat("be brief", role="system")
    assert llama3_1(asked).texts[:2] == (
        "system",
        "\n\nCutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\nbe brief",
    )
    assert llama3_1(chat("hi")).overhead == llama3(chat("hi")).overhead + 3
    assert llama3_1(asked).overhead == llama3(asked).overhead


FILES = {"tokenizer": {"file": "t.json"}, "template": {"file": "tokenizer_config.json"}}


async def count(folder: Path, counted: Counting, template: str, asked: dict[str, Any]) -> tuple[int, bool]:
    """(tokens, whether they are exact), each word being a token."""
    write(folder / "t.json", words())
    write(folder / "tokenizer_config.json", {"chat_template": template, "bos_token": "BOS"})
    found = await counted(asked, **FILES)
    return found.tokens, found.estimate is None


RENDERED: list[tuple[str, dict[str, Any], int]] = [
    ("{{ messages[0].content }}", chat("one two"), 2),
    ("{{ bos_token }} {{ messages[0].content }}", chat("one two"), 3),
    ("{{ eos_token }} {{ messages[0].content }}", chat("one two"), 2),
    ("{{ messages[0].content }}", chat([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]), 2),
    ("{% if add_generation_prompt %}go on{% endif %}", chat("x"), 2),
    ("{% if add_generation_prompt %}go on{% endif %}", chat("x", add_generation_prompt=False), 0),
    ("{% if enable_thinking is defined %}a b c{% endif %}", chat("x", chat_template_kwargs={"enable_thinking": True}), 3),
    ("{{ messages | length }}", chat("x", chat_template_kwargs={"messages": "a b"}), 1),
    ("{{ (tools or []) | length }}{% for t in tools or [] %} {{ t.function.name }}{% endfor %}", chat("x"), 1),
    ("{% for t in tools or [] %} {{ t.function.name }}{% endfor %}", chat("x", tools=[{"function": {"name": "now"}}]), 1),
    ("{{ {'a': 'é'} | tojson }}", chat("x"), len(['{"', "a", '":', '"', "é", '"}'])),
    ("{{ strftime_now('%d %b %Y') }}", chat("x"), 3),
    ("{% generation %}a b{% endgeneration %}{% for i in range(9) %}{% break %}{% endfor %}", chat("x"), 2),
]


@pytest.mark.parametrize(("template", "asked", "tokens"), RENDERED)
async def test_a_template_of_ones_own_says_what_is_counted(
    tmp_path: Path, counted: Counting, template: str, asked: dict[str, Any], tokens: int
) -> None:
    assert await count(tmp_path, counted, template, asked) == (tokens, True)


async def test_calls_have_their_arguments_as_objects_and_nothing_for_content(tmp_path: Path, counted: Counting) -> None:
    template = "{% for m in messages if m.tool_calls %}{{ m.content }}{{ m.tool_calls[0].function.arguments.city }}{% endfor %}"
    call = {"id": "1", "function": {"name": "f", "arguments": '{"city": "New York"}'}}
    asked = {"model": "m", "messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    assert await count(tmp_path, counted, template, asked) == (2, True)


REFUSED = [
    "{% if messages | length > 1 %}{{ raise_exception('one at a time') }}{% endif %}",
    "{% if messages | length > 1 %}{{ messages[0].content + 1 }}{% endif %}",
    "{% if messages | length > 1 %}{{ messages[7].content.x }}{% endif %}",
    "{% if messages | length > 1 %}{{ 1 / 0 }}{% endif %}",
    "{% if messages | length > 1 %}{{ ''.__class__.__mro__[1].__subclasses__() }}{% endif %}",
    "{% if messages | length > 1 %}{% for i in range(1000000) %}{% endfor %}{% endif %}",
]


@pytest.mark.parametrize("template", REFUSED)
async def test_a_chat_that_its_template_refuses_is_an_estimate_by_openais_formula(
    tmp_path: Path, counted: Counting, template: str
) -> None:
    assert await count(tmp_path, counted, template, chat("hello", "world")) == (3 + 2 * (3 + 1 + 1), False)


ESTIMATES: list[dict[str, Any]] = [
    chat("x", continue_final_message=True),
    chat("x", chat_template="{{ 1 }}"),
    chat([{"type": "image_url"}]),
]


@pytest.mark.parametrize("asked", ESTIMATES, ids=json.dumps)
async def test_what_the_template_does_not_see_makes_an_estimate(tmp_path: Path, counted: Counting, asked: dict[str, Any]) -> None:
    assert (await count(tmp_path, counted, "{{ messages[0].content }}", asked))[1] is False


@pytest.mark.parametrize("arguments", [3, "[" * 100_000, "{", {"a": 1}])
async def test_arguments_that_are_no_json_stay_as_they_are(tmp_path: Path, counted: Counting, arguments: Any) -> None:
    template = "{% for m in messages if m.tool_calls %}{{ m.tool_calls[0].function.arguments | tojson }}{% endfor %}"
    asked = {"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"function": {"arguments": arguments}}, "none"]}]}
    assert (await count(tmp_path, counted, template, asked))[1] is True


def test_a_template_in_a_file_of_its_own_may_have_its_tokens_from_another(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    config = write(tmp_path / "tokenizer_config.json", {"bos_token": "<s>", "added_tokens_decoder": {}})
    assert template_from(tmp_path / "chat_template.jinja", None)(chat("hi")).texts == ("hi",)
    assert template_from(tmp_path / "chat_template.jinja", config)(chat("hi")).texts == ("<s>hi",)


def test_of_several_templates_the_default_one_counts(tmp_path: Path) -> None:
    listed = [{"name": "tool_use", "template": "a"}, {"name": "default", "template": "b"}, 3]
    assert template_from(write(tmp_path / "c.json", {"chat_template": listed}), None)(chat("hi")).texts == ("b",)


BAD: list[tuple[str, Any, str]] = [
    ("c.json", "[", "c.json: "),
    ("c.json", {"bos_token": "x"}, "it has no chat_template; that may be in a file of its own, chat_template.jinja"),
    ("c.json", {"chat_template": []}, "it has no chat_template"),
    ("c.json", {"chat_template": "a\n{% if %}"}, "line 2: "),
    ("c.jinja", "{{ raise_exception('never') }}", "never"),
    ("c.jinja", "{% for i in range(1000000) %}{% endfor %}", "Range too big"),
    ("c.jinja", "{% include '/etc/passwd' %}", "no loader"),
]


@pytest.mark.parametrize(("name", "document", "wrong"), BAD)
def test_a_file_that_has_no_template_says_so(tmp_path: Path, name: str, document: Any, wrong: str) -> None:
    path = write(tmp_path / name, document)
    with pytest.raises(ValueError) as raised:
        template_from(path, None)
    assert str(raised.value).startswith(f"{path} is no chat template: ") and wrong in str(raised.value)


def test_a_template_does_not_change_the_chat(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jinja", "{{ messages[0].content }}{% if messages | length > 1 %}{{ messages.append(1) }}{% endif %}")
    asked = chat("a", "b")
    with pytest.raises(NotRendered):
        template_from(path, None)(asked)
    assert asked == chat("a", "b")
