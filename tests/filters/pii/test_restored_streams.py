"""Placeholders in streamed answers, put back wherever they are cut."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.events import Deliver, Proceed
from headrace.ext_proc.engine.policy.compile import Policy

from .driver import Talk, arguments, delta, event, joined, parsed, policy, user
from .streaming import FINISH, OTHER, PLAIN, asked, called, in_pieces, messages_events, responses_events


@pytest.mark.parametrize("size", range(1, 30))
def test_a_placeholder_split_over_deltas_is_restored(restoring: Policy, size: int) -> None:
    talk, token = asked(restoring)
    events = talk.events([*(delta(content=piece) for piece in in_pieces(f"To {token}, <b>and</b> {token.lower()}", size)), *FINISH])
    assert joined(events) == f"To {PLAIN}, <b>and</b> {PLAIN}"
    assert events[-1] == "[DONE]"


@pytest.mark.parametrize("name", ["content", "refusal", "reasoning_content", "reasoning"])
def test_every_text_of_a_chat_stream_is_a_channel_of_its_own(restoring: Policy, name: str) -> None:
    talk, token = asked(restoring)
    interleaved: list[Any] = []
    for piece in in_pieces(token, 4):
        interleaved += [delta(0, None, **{name: piece}), delta(1, content=piece), delta(0, other="x")]
    events = talk.events([*interleaved, delta(1, finish="stop"), *FINISH])
    assert joined(events, 0, name) == PLAIN
    assert joined(events, 1) == PLAIN
    assert joined(events, 0, "other") == "x" * len(in_pieces(token, 4))


def test_what_was_held_comes_as_one_delta_before_the_finish(restoring: Policy) -> None:
    talk, token = asked(restoring)
    events = talk.events([delta(content="see "), delta(content=token[:9]), *FINISH])
    assert joined(events) == f"see {token[:9]}"
    held, finish = events[-3], events[-2]
    assert held["choices"] == [{"index": 0, "delta": {"content": token[:9]}, "finish_reason": None}]
    assert (held["id"], held["model"]) == ("c1", "m")
    assert finish["choices"][0]["finish_reason"] == "stop"


def test_a_finishing_event_with_text_carries_what_was_held(restoring: Policy) -> None:
    talk, token = asked(restoring)
    events = talk.events([delta(content=token[:9]), delta(content=token[9:] + " <EM", finish="stop"), "[DONE]"])
    assert joined(events) == f"{PLAIN} <EM"
    assert len(events) == 3


@pytest.mark.parametrize("end", [["[DONE]"], []])
def test_what_was_held_comes_before_the_end_of_a_stream_without_a_finish(restoring: Policy, end: list[Any]) -> None:
    talk, token = asked(restoring)
    assert joined(talk.events([delta(content=token[:9]), *end])) == token[:9]


def test_events_without_a_sign_of_a_placeholder_keep_their_bytes(restoring: Policy) -> None:
    talk, _ = asked(restoring)
    chunk = b'event: x\nid: 7\ndata: {"choices" : [ {"index":0, "delta":{"content":"hi"}}]}\n\n: ping\n\ndata: [DONE]\n\n'
    assert talk.stream([chunk]) == chunk


@pytest.mark.parametrize("size", [1, 3, 7, 100])
@pytest.mark.parametrize("escaped", [False, True])
def test_arguments_of_a_tool_call_stay_valid_json(restoring: Policy, size: int, escaped: bool) -> None:
    value = 'http://example.com/\\"path'
    talk, token = asked(restoring, value=value)
    known = json.loads(json.dumps(token)).split(">")[0] + ">"
    spelled = known.replace("<", "\\u003c").replace(">", "\\u003e") if escaped else known
    written = f'{{"q": "\\n{spelled}", "s": "\\\\"}}'
    pieces = [called(piece, index) for piece in in_pieces(written, size) for index in (0, 1)]
    events = talk.events([*pieces, delta(finish="tool_calls"), "[DONE]"])
    for index in (0, 1):
        assert json.loads(arguments(events, index)) == {"q": "\nhttp://example.com/\\", "s": "\\"}


def test_a_stream_cut_at_every_byte_gives_what_the_whole_stream_gives(restoring: Policy) -> None:
    def answer(token: str) -> bytes:
        texts = [f"é {token} 🙂", token[:5], token[5:] + "\\", "<", "EMAIL"]
        return b"".join(event(each) for each in [*(delta(content=text) for text in texts), called(f'{{"a":"{token}"}}'), *FINISH])

    talk, token = asked(restoring)
    whole = talk.stream([answer(token)])
    assert joined(parsed(whole)) == f"é {PLAIN} 🙂{PLAIN}\\<EMAIL"
    for cut in range(1, len(answer(token)), 3):
        talk, token = asked(restoring)
        assert talk.stream([answer(token)[:cut], answer(token)[cut:]]) == whole
    talk, token = asked(restoring)
    assert talk.stream(bytes([byte]) for byte in answer(token)) == whole


def test_surrogates_split_over_deltas_pass_in_order_with_restored_text(restoring: Policy) -> None:
    talk, token = asked(restoring)
    texts = [token[:6], token[6:] + "\\ud83d", "\\ude42" + token]
    raw = [f'data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}\n\n'.encode() for text in texts]
    assert joined(parsed(talk.stream([*raw, b"data: [DONE]\n\n"]))) == f"{PLAIN}\ud83d\ude42{PLAIN}"


def test_a_token_that_is_not_of_this_exchange_is_not_restored(restoring: Policy) -> None:
    _, foreign = asked(restoring, value="someone.else@example.com")
    talk, _ = asked(restoring)
    said = f"{foreign} <EMAIL_ADDRESS_aaaaaaaa>"
    assert joined(talk.events([delta(content=said), *FINISH])) == said


def test_a_look_alike_written_by_the_client_reveals_nothing(restoring: Policy) -> None:
    _, usual = asked(restoring)
    talk = Talk(restoring)
    sent = talk.sent(user(f"{PLAIN} and {usual.lower()}"))["messages"][0]["content"]
    token = sent.split()[0]
    assert token.lower() != usual.lower()
    assert joined(talk.events([delta(content=f"{usual} {token}"), *FINISH])) == f"{usual} {PLAIN}"


def test_a_whole_answer_is_restored_in_every_string(restoring: Policy) -> None:
    talk, token = asked(restoring)
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": f'{{"to": "{token}"}}'}}
    message = {"role": "assistant", "content": f"To {token}", "reasoning_content": token, "tool_calls": [call]}
    answer = talk.whole({"id": "c1", "choices": [{"index": 0, "message": message}], "usage": {"prompt_tokens": 1}})
    assert PLAIN in answer["choices"][0]["message"]["content"]
    assert json.loads(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]) == {"to": PLAIN}
    assert token not in json.dumps(answer)


def test_an_error_that_quotes_the_prompt_is_restored(restoring: Policy) -> None:
    talk, token = asked(restoring)
    assert PLAIN in talk.whole({"error": {"message": f"cannot read {token}"}})["error"]["message"]


def test_restore_off_leaves_the_placeholders_and_does_not_read_the_answer(tmp_path: Path) -> None:
    answer = Talk(policy(tmp_path, "restore: false")).ask(user(PLAIN))
    assert isinstance(answer, Proceed) and answer.body is not None
    assert answer.last and b"<EMAIL_ADDRESS_" in answer.body


def _answer(text: str) -> bytes:
    return json.dumps({"choices": [{"index": 0, "message": {"content": text}}]}).encode()


LAX: dict[str, tuple[Callable[[str], bytes], str]] = {
    "half a surrogate pair": (lambda token: _answer(f"{token} cut \ud83d"), f"{PLAIN} cut \ud83d"),
    "NaN": (lambda token: _answer(token).replace(b'"index": 0', b'"index": 0, "score": NaN'), PLAIN),
    "a BOM": (lambda token: b"\xef\xbb\xbf" + _answer(token), PLAIN),
    "no UTF-8 in a name": (lambda token: _answer(token).replace(b'"index"', b'"caf\xe9": 1, "index"'), PLAIN),
    "no UTF-8 in a value": (lambda token: _answer(token).replace(b'"index"', b'"x": "caf\xe9", "index"'), PLAIN),
}


@pytest.mark.parametrize("case", LAX)
def test_an_answer_that_only_callers_read_is_restored(restoring: Policy, case: str) -> None:
    make, expected = LAX[case]
    talk, token = asked(restoring)
    told = talk.whole_raw(make(token))
    assert isinstance(told, Deliver), told
    answer = json.loads(told.data.decode("utf-8", "replace"))
    assert answer["choices"][0]["message"]["content"] == expected
    assert (b"NaN" in told.data) == (case == "NaN")


def test_an_event_with_nan_keeps_it(restoring: Policy) -> None:
    talk, token = asked(restoring)
    out = talk.stream([event(delta(content=token)).replace(b'"index": 0', b'"index": 0, "score": NaN'), event("[DONE]")])
    assert b'"score":NaN' in out and PLAIN.encode() in out


def test_an_answer_of_json_lines_is_restored_and_searched_line_by_line(restoring: Policy, scrubbing: Policy) -> None:
    for used, other in ((restoring, OTHER), (scrubbing, "<EMAIL_ADDRESS>")):
        talk, token = asked(used)
        told = talk.whole_raw(_answer(token) + b"\n\n" + _answer(OTHER) + b"\r\n")
        assert isinstance(told, Deliver), told
        said = [json.loads(line)["choices"][0]["message"]["content"] for line in told.data.splitlines()]
        assert said == [PLAIN, other]


def test_lines_of_which_one_is_no_json_stay_what_they_are(restoring: Policy, scrubbing: Policy) -> None:
    talk, token = asked(restoring)
    told = talk.whole_raw(_answer(token) + b"\nno json")
    assert isinstance(told, Deliver) and told.same
    talk, token = asked(scrubbing)
    assert getattr(talk.whole_raw(_answer(token) + b"\nno json"), "reason", "") == "pii.unreadable_answer"


# --- other dialects --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_a_responses_stream_is_restored_in_deltas_and_in_what_repeats_them(restoring: Policy, size: int) -> None:
    talk, token = asked(restoring, "/v1/responses")
    events = talk.events(responses_events(token, size))
    assert token not in json.dumps(events)
    text, written = (
        "".join(each["delta"] for each in events if each["type"] == f"response.{kind}.delta")
        for kind in ("output_text", "function_call_arguments")
    )
    assert text == f"To {PLAIN}"
    assert json.loads(written) == {"to": PLAIN}
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == f"To {PLAIN}"


def test_what_a_responses_stream_held_comes_before_its_done_event(restoring: Policy) -> None:
    talk, token = asked(restoring, "/v1/responses")
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    held = {"type": "response.output_text.delta", **at, "delta": token[:7]}
    done = {"type": "response.output_text.done", **at, "text": token[:7]}
    assert talk.events([held, done]) == [held | {"delta": ""}, held, done]


def _anthropic_text(events: Sequence[Any], index: int, name: str) -> str:
    deltas = [each["delta"] for each in events if each["type"] == "content_block_delta" and each["index"] == index]
    return "".join(each[name] for each in deltas)


@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_an_anthropic_stream_is_restored_block_by_block(restoring: Policy, size: int) -> None:
    talk, token = asked(restoring, "/v1/messages")
    raw = talk.stream(event(document) for document in messages_events(token, size))
    events = parsed(raw)
    assert _anthropic_text(events, 0, "thinking") == f"hm {token}"
    assert _anthropic_text(events, 1, "text") == f"To {PLAIN} <EM"
    assert json.loads(_anthropic_text(events, 2, "partial_json")) == {"to": PLAIN}
    stops = [position for position, each in enumerate(events) if each["type"] == "content_block_stop"]
    held = events[stops[1] - 1]
    assert held == {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "<EM"}} or size > 4
    assert b"event: content_block_delta\n" in raw


def test_a_legacy_completion_stream_is_restored(restoring: Policy) -> None:
    talk = Talk(restoring, "/v1/completions")
    token = talk.sent({"model": "m", "prompt": PLAIN, "stream": True})["prompt"]
    choices = [{"index": 0, "text": piece, "finish_reason": None} for piece in in_pieces(f"{token}!<U", 3)]
    choices.append({"index": 0, "text": "", "finish_reason": "stop"})
    events = talk.events([*({"choices": [choice]} for choice in choices), "[DONE]"])
    assert "".join(each["choices"][0]["text"] for each in events[:-1]) == f"{PLAIN}!<U"
