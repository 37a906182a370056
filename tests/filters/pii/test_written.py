"""Objects that a model wrote for a tool are its arguments, whatever their members are called."""

import json
from typing import Any

import pytest

from headrace.ext_proc.engine.policy.compile import Policy

from .driver import CHAT, delta
from .streaming import FINISH, PLAIN, asked

SSN, CARD, PHONE = "536-90-4399", "4111111111111111", "+14155552671"
SECRET: dict[str, Any] = {
    "id": SSN, "name": CARD, "data": PHONE, "signature": CARD, "status": SSN, "embedding": CARD, "logprobs": [CARD],
    "card": int(CARD), "deep": {"type": [SSN]}, "n": 7,
}  # fmt: skip


def _tool_use(kind: str, written: Any) -> dict[str, Any]:
    return {"type": kind, "id": "toolu_1", "name": "send", "input": written}


def _anthropic(written: Any, kind: str = "tool_use") -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "content": [_tool_use(kind, written)], "stop_reason": "tool_use"}


def _chat(written: Any) -> dict[str, Any]:
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": written}}
    return {"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": [call]}}]}


def _responses(written: Any) -> dict[str, Any]:
    return {"output": [{"type": "local_shell_call", "id": "ls_1", "action": written}]}


PLACES = [("/v1/messages", _anthropic), (CHAT, _chat), ("/v1/responses", _responses)]


def _no_secret(document: Any) -> bool:
    return not any(secret in json.dumps(document) for secret in (SSN, CARD, PHONE, "joan"))


@pytest.mark.parametrize(("path", "make"), PLACES)
def test_no_name_and_no_number_in_what_a_model_wrote_hides_a_finding(scrubbing: Policy, path: str, make: Any) -> None:
    talk, token = asked(scrubbing, path)
    answer = talk.whole(make({**SECRET, "to": token}))
    assert _no_secret(answer)
    assert PLAIN in json.dumps(answer) and '"n": 7' in json.dumps(answer)


@pytest.mark.parametrize("kind", ["tool_use", "server_tool_use", "mcp_tool_use"])
def test_the_blocks_own_words_stay(scrubbing: Policy, kind: str) -> None:
    talk, _ = asked(scrubbing, "/v1/messages")
    block = talk.whole(_anthropic({"q": SSN}, kind))["content"][0]
    assert block == _tool_use(kind, {"q": "<US_SSN>"})


@pytest.mark.parametrize(("path", "make"), PLACES)
def test_a_finding_in_a_name_replaces_all_that_was_written(scrubbing: Policy, path: str, make: Any) -> None:
    talk, _ = asked(scrubbing, path)
    assert talk.whole(make({"joan@example.org": 1})) == make("<EMAIL_ADDRESS>")


@pytest.mark.parametrize(("path", "make"), PLACES)
def test_a_placeholder_that_is_a_name_is_restored(restoring: Policy, path: str, make: Any) -> None:
    talk, token = asked(restoring, path)
    assert talk.whole(make({token: {"id": token}, "n": 1.5})) == make({PLAIN: {"id": PLAIN}, "n": 1.5})


@pytest.mark.parametrize("written", [{**SECRET}, {"joan@example.org": 1}])
def test_arguments_that_begin_a_block_are_searched(scrubbing: Policy, written: Any) -> None:
    talk, _ = asked(scrubbing, "/v1/messages")
    start = {"type": "content_block_start", "index": 0, "content_block": _tool_use("tool_use", written)}
    assert _no_secret(talk.events([start, {"type": "content_block_stop", "index": 0}]))


def test_arguments_of_a_chat_stream_may_be_an_object(scrubbing: Policy) -> None:
    talk, token = asked(scrubbing)
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "send", "arguments": {**SECRET, token: 1}}}
    events = talk.events([delta(tool_calls=[call]), *FINISH])
    written = events[0]["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]
    assert _no_secret(events) and written[PLAIN] == 1
