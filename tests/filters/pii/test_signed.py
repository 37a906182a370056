"""Thinking that a provider signed goes back to it as it came, placeholders included."""

from collections.abc import Sequence
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.engine.policy.compile import Policy

from .driver import CHAT, Talk, delta, event, parsed
from .streaming import FINISH, OTHER, PLAIN, asked, in_pieces

SIGNATURE = "EqQBCkgIARABGAIiQL" * 10
MESSAGES = "/v1/messages"


def _thinking(text: str, signature: str = SIGNATURE) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def _reasoning(text: str, signature: str | None = SIGNATURE) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "signature": signature, "format": "anthropic-claude-v1", "index": 0}


def _asking(*blocks: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"for {PLAIN}"}, {"role": "assistant", "content": [*blocks]}]
    return {"model": "m", "max_tokens": 9, "messages": turns}


def _chatting(name: str, *details: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": f"for {PLAIN}"}, {"role": "assistant", "content": "so", name: [*details]}]
    return {"model": "m", "messages": turns}


def _unread(talk: Talk) -> Any:
    (record,) = [effect for effect in talk.close() if isinstance(effect, Record) and effect.kind == "decision"]
    return next(step["note"] for step in record.members["steps"] if step["filter"] == "pii").get("unread")


# --- requests --------------------------------------------------------------------------------------------------------------------


def test_signed_thinking_of_a_request_is_not_looked_at_and_named(restoring: Policy) -> None:
    talk = Talk(restoring, MESSAGES)
    block = _thinking(f"{PLAIN}, or {OTHER}?")
    sent = talk.sent(_asking(block, {"type": "text", "text": OTHER}))["messages"]
    assert sent[1]["content"][0] == block
    assert PLAIN not in sent[0]["content"] and OTHER not in sent[1]["content"][1]["text"]
    assert _unread(talk) == {"content.thinking": 1, "content.signature": 1}


@pytest.mark.parametrize(
    ("name", "detail"),
    [("reasoning_details", _reasoning(OTHER)), ("thinking_blocks", _thinking(OTHER))],
)
def test_so_is_that_of_a_chat_request(restoring: Policy, name: str, detail: Any) -> None:
    talk = Talk(restoring)
    assert talk.sent(_chatting(name, detail))["messages"][1][name] == [detail]
    text = "text" if name == "reasoning_details" else "thinking"
    assert _unread(talk) == {f"{name}.{text}": 1, f"{name}.signature": 1}


@pytest.mark.parametrize("signature", ["", None, 7])
def test_thinking_without_a_signature_is_searched(restoring: Policy, signature: Any) -> None:
    sent = Talk(restoring, MESSAGES).sent(_asking(_thinking(OTHER, signature)))
    assert OTHER not in sent["messages"][1]["content"][0]["thinking"]
    sent = Talk(restoring).sent(_chatting("reasoning_details", _reasoning(OTHER, signature)))
    assert OTHER not in sent["messages"][1]["reasoning_details"][0]["text"]


def test_a_signature_beside_other_text_hides_nothing(restoring: Policy) -> None:
    block = {"type": "text", "text": OTHER, "signature": SIGNATURE}
    assert OTHER not in Talk(restoring, MESSAGES).sent(_asking(block))["messages"][1]["content"][0]["text"]


def test_a_placeholder_in_signed_thinking_keeps_its_meaning_in_the_next_turn(restoring: Policy) -> None:
    _, token = asked(restoring, MESSAGES)
    talk = Talk(restoring, MESSAGES)
    sent = talk.sent(_asking(_thinking(token)))
    assert sent["messages"][0]["content"] == f"for {token}"


# --- answers ---------------------------------------------------------------------------------------------------------------------


def test_signed_thinking_of_an_answer_is_not_restored(restoring: Policy) -> None:
    talk, token = asked(restoring, MESSAGES)
    blocks = [_thinking(token), _thinking(token, ""), {"type": "text", "text": token}]
    answer = talk.whole({"type": "message", "content": blocks})
    assert answer["content"] == [_thinking(token), _thinking(PLAIN, ""), {"type": "text", "text": PLAIN}]


def test_signed_reasoning_of_a_chat_answer_is_not_restored(restoring: Policy) -> None:
    talk, token = asked(restoring)
    message = {"content": token, "reasoning": token, "reasoning_details": [_reasoning(token), _reasoning(token, None)]}
    restored = {"content": PLAIN, "reasoning": PLAIN, "reasoning_details": [_reasoning(token), _reasoning(PLAIN, None)]}
    assert talk.whole({"choices": [{"message": message}]})["choices"][0]["message"] == restored


def test_signed_thinking_of_an_answer_is_searched(scrubbing: Policy) -> None:
    talk, token = asked(scrubbing, MESSAGES)
    answer = talk.whole({"type": "message", "content": [_thinking(f"{token} and {OTHER}")]})
    assert answer["content"] == [_thinking(f"{token} and <EMAIL_ADDRESS>")]


def _streamed(talk: Talk, pieces: Sequence[str]) -> str:
    """The thinking of a stream of Anthropic's, which ends with its signature."""
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces] + [
        {"type": "signature_delta", "signature": SIGNATURE}
    ]
    start = {"type": "content_block_start", "index": 0, "content_block": _thinking("", "")}
    blocks = [{"type": "content_block_delta", "index": 0, "delta": each} for each in deltas]
    raw = talk.stream(
        event(each) for each in [start, *blocks, {"type": "content_block_stop", "index": 0}, {"type": "message_stop"}]
    )
    events = parsed(raw)
    assert blocks[-1] in events
    return "".join(each["delta"].get("thinking", "") for each in events if each["type"] == "content_block_delta")


@pytest.mark.parametrize("size", [1, 5, 100])
def test_thinking_of_a_stream_is_searched_and_not_restored(restoring: Policy, scrubbing: Policy, size: int) -> None:
    talk, token = asked(restoring, MESSAGES)
    assert _streamed(talk, in_pieces(f"{token} and {OTHER}", size)) == f"{token} and {OTHER}"
    talk, token = asked(scrubbing, MESSAGES)
    assert _streamed(talk, in_pieces(f"{token} and {OTHER}", size)) == f"{token} and <EMAIL_ADDRESS>"


@pytest.mark.parametrize("size", [1, 5, 100])
@pytest.mark.parametrize(
    ("name", "members", "text", "restored"),
    [
        ("reasoning_details", {"type": "reasoning.text", "format": "anthropic-claude-v1"}, "text", False),
        ("reasoning_details", {"type": "reasoning.text"}, "text", False),
        ("reasoning_details", {"type": "reasoning.summary", "format": "openai-responses-v1"}, "summary", True),
        ("thinking_blocks", {"type": "thinking"}, "thinking", False),
    ],
)
def test_reasoning_of_a_chat_stream_is_restored_where_nobody_signs_it(
    restoring: Policy, size: int, name: str, members: Any, text: str, restored: bool
) -> None:
    talk, token = asked(restoring, CHAT)
    events = [delta() for _ in in_pieces(f"hm {token}", size)]
    for given, piece in zip(events, in_pieces(f"hm {token}", size), strict=True):
        given["choices"][0]["delta"] = {name: [{**members, "index": 0, text: piece}]}
    events = talk.events([*events, *FINISH])
    details = [each["choices"][0]["delta"].get(name, [{}])[0] for each in events[:-1]]
    assert "".join(each.get(text, "") for each in details) == f"hm {PLAIN if restored else token}"
