"""Chats of Mistral's models: counts equal mistral-common's, which mistral_counts.py has written down."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engine.counting.conftest import Counting
from tests.tokenizer_files import tekken, write

GOLDEN = [json.loads(line) for line in (Path(__file__).parent / "mistral.jsonl").read_text("utf-8").splitlines()]
FILE = {"file": "tekken.json"}


def test_there_are_chats_of_every_version_with_tools_calls_and_parts() -> None:
    text = json.dumps(GOLDEN)
    assert {version for version, _, _ in GOLDEN} == {"v3", "v7", "v11", "v13", "v15"}
    assert all(text.count(part) > 20 for part in ('"tools"', '"tool_calls"', '"tool_call_id"', '"type": "text"', '"system"'))


@pytest.mark.parametrize("version", ["v3", "v7", "v11", "v13", "v15"])
async def test_counts_equal_mistral_commons(tmp_path: Path, counted: Counting, version: str) -> None:
    write(tmp_path / "tekken.json", tekken(version))
    for _, chat, tokens in (line for line in GOLDEN if line[0] == version):
        found = await counted(chat, tokenizer=FILE)
        assert (found.tokens, found.estimate, chat) == (tokens, None, chat)


def said(role: str, content: Any, **members: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **members}


CASES: list[tuple[str, list[dict[str, Any]], int]] = [
    ("v7", [said("user", "ab")], 1 + 2 + 2),
    ("v7", [said("system", "ab"), said("user", "c")], 1 + 2 + 2 + 2 + 1),
    ("v7", [said("user", "ab"), said("assistant", "c"), said("user", "d")], 1 + (2 + 2) + (1 + 1) + (2 + 1)),
    ("v7", [said("user", "ab"), said("assistant", "c", prefix=True)], 1 + (2 + 2) + 1),
    ("v3", [said("system", "ab")], 1 + 2 + 2 + 1),
    ("v3", [], 1 + 2),
    ("v7", [], 1),
]


@pytest.mark.parametrize(("version", "messages", "tokens"), CASES)
async def test_the_frames_by_hand(
    tmp_path: Path, counted: Counting, version: str, messages: list[dict[str, Any]], tokens: int
) -> None:
    write(tmp_path / "tekken.json", tekken(version))
    found = await counted({"model": "m", "messages": messages}, tokenizer=FILE)
    assert (found.tokens, found.estimate) == (tokens, None)


ESTIMATES: list[dict[str, Any]] = [
    {"messages": [said("user", [{"type": "image_url", "image_url": {"url": "x"}}])]},
    {"messages": [said("developer", "hi")]},
    {"messages": [said("user", "hi")], "tools": [{"type": "web_search"}]},
    {"messages": [said("assistant", "hi", reasoning_content="because")]},
    {"messages": [said("assistant", "hi", tool_calls=[{"function": "none"}, 3])]},
    {"messages": [{"role": {"a": 1}, "content": ["x", 3, {"type": "text", "text": 4}]}]},
]


@pytest.mark.parametrize("chat", ESTIMATES, ids=json.dumps)
async def test_what_no_rule_is_known_for_is_an_estimate(tmp_path: Path, counted: Counting, chat: dict[str, Any]) -> None:
    write(tmp_path / "tekken.json", tekken())
    assert (await counted({"model": "m", **chat}, tokenizer=FILE)).estimate is not None


@pytest.mark.parametrize(("format", "exact"), [({"type": "text"}, True), (None, True), ({"type": "json_object"}, False)])
async def test_a_schema_of_the_answer_makes_an_estimate_where_the_model_is_told(
    tmp_path: Path, counted: Counting, format: Any, exact: bool
) -> None:
    chat = {"model": "m", "messages": [said("user", "hi")], "response_format": format}
    for version, told in (("v13", False), ("v15", True)):
        write(tmp_path / f"{version}.json", tekken(version))
        found = await counted(chat, tokenizer={"file": f"{version}.json"})
        assert (found.estimate is None) is (exact or not told)


@pytest.mark.parametrize("arguments", ["[" * 100_000, "{", '{"a": 1e999}', "9" * 5000, "NaN"])
async def test_arguments_of_any_shape_are_counted(tmp_path: Path, counted: Counting, arguments: str) -> None:
    write(tmp_path / "tekken.json", tekken("v11"))
    calls = [{"id": "123456789", "function": {"name": "f", "arguments": arguments}}]
    found = await counted({"model": "m", "messages": [said("assistant", None, tool_calls=calls)]}, tokenizer=FILE)
    assert found.tokens > 5
