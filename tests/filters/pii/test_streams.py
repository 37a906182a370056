"""What the caller gets of a streamed answer: the same, however the stream was cut."""

import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.core.events import Proceed
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.warming import warm
from headrace.filters.pii.models.names import default_models
from tests.filters.compiled import Inline

from .driver import CHAT, Talk, arguments, delta, event, joined, parsed, policy, user

PLAIN = "jane.doe@example.com"
FINISH = [delta(finish="stop"), "[DONE]"]


@pytest.fixture(scope="module")
def restoring(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy(tmp_path_factory.mktemp("restoring"))


@pytest.fixture(scope="module")
def scrubbing(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy(tmp_path_factory.mktemp("scrubbing"), "response: redact")


def _asked(used: Policy, path: str = CHAT, value: str = PLAIN) -> tuple[Talk, str]:
    """An exchange whose prompt held a value, and the placeholder the model sees."""
    talk = Talk(used, path)
    body = {"model": "m", "input": f"for {value}"} if path == "/v1/responses" else user(f"for {value}", max_tokens=9)
    sent = talk.sent(body)
    text = sent["input"] if "input" in sent else sent["messages"][0]["content"]
    return talk, text.removeprefix("for ")


def _pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


# --- restoring -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(1, 30))
def test_a_placeholder_split_over_deltas_is_restored(restoring: Policy, size: int) -> None:
    talk, token = _asked(restoring)
    events = talk.events([*(delta(content=piece) for piece in _pieces(f"To {token}, <b>and</b> {token.lower()}", size)), *FINISH])
    assert joined(events) == f"To {PLAIN}, <b>and</b> {PLAIN}"
    assert events[-1] == "[DONE]"


@pytest.mark.parametrize("name", ["content", "refusal", "reasoning_content", "reasoning"])
def test_every_text_of_a_chat_stream_is_a_channel_of_its_own(restoring: Policy, name: str) -> None:
    talk, token = _asked(restoring)
    interleaved: list[Any] = []
    for piece in _pieces(token, 4):
        interleaved += [delta(0, None, **{name: piece}), delta(1, content=piece), delta(0, other="x")]
    events = talk.events([*interleaved, delta(1, finish="stop"), *FINISH])
    assert joined(events, 0, name) == PLAIN
    assert joined(events, 1) == PLAIN
    assert joined(events, 0, "other") == "x" * len(_pieces(token, 4))


def test_what_was_held_comes_as_one_delta_before_the_finish(restoring: Policy) -> None:
    talk, token = _asked(restoring)
    events = talk.events([delta(content="see "), delta(content=token[:9]), *FINISH])
    assert joined(events) == f"see {token[:9]}"
    held, finish = events[-3], events[-2]
    assert held["choices"] == [{"index": 0, "delta": {"content": token[:9]}, "finish_reason": None}]
    assert (held["id"], held["model"]) == ("c1", "m")
    assert finish["choices"][0]["finish_reason"] == "stop"


def test_a_finishing_event_with_text_carries_what_was_held(restoring: Policy) -> None:
    talk, token = _asked(restoring)
    events = talk.events([delta(content=token[:9]), delta(content=token[9:] + " <EM", finish="stop"), "[DONE]"])
    assert joined(events) == f"{PLAIN} <EM"
    assert len(events) == 3


@pytest.mark.parametrize("end", [["[DONE]"], []])
def test_what_was_held_comes_before_the_end_of_a_stream_without_a_finish(restoring: Policy, end: list[Any]) -> None:
    talk, token = _asked(restoring)
    assert joined(talk.events([delta(content=token[:9]), *end])) == token[:9]


def test_events_without_a_sign_of_a_placeholder_keep_their_bytes(restoring: Policy) -> None:
    talk, _ = _asked(restoring)
    chunk = b'event: x\nid: 7\ndata: {"choices" : [ {"index":0, "delta":{"content":"hi"}}]}\n\n: ping\n\ndata: [DONE]\n\n'
    assert talk.stream([chunk]) == chunk


def _call(piece: str, index: int = 0) -> dict[str, Any]:
    return delta(tool_calls=[{"index": index, "function": {"arguments": piece}}])


@pytest.mark.parametrize("size", [1, 3, 7, 100])
@pytest.mark.parametrize("escaped", [False, True])
def test_arguments_of_a_tool_call_stay_valid_json(restoring: Policy, size: int, escaped: bool) -> None:
    value = 'http://example.com/\\"path'
    talk, token = _asked(restoring, value=value)
    known = json.loads(json.dumps(token)).split(">")[0] + ">"
    spelled = known.replace("<", "\\u003c").replace(">", "\\u003e") if escaped else known
    written = f'{{"q": "\\n{spelled}", "s": "\\\\"}}'
    pieces = [_call(piece, index) for piece in _pieces(written, size) for index in (0, 1)]
    events = talk.events([*pieces, delta(finish="tool_calls"), "[DONE]"])
    for index in (0, 1):
        assert json.loads(arguments(events, index)) == {"q": "\nhttp://example.com/\\", "s": "\\"}


def test_a_stream_cut_at_every_byte_gives_what_the_whole_stream_gives(restoring: Policy) -> None:
    def answer(token: str) -> bytes:
        texts = [f"é {token} 🙂", token[:5], token[5:] + "\\", "<", "EMAIL"]
        return b"".join(event(each) for each in [*(delta(content=text) for text in texts), _call(f'{{"a":"{token}"}}'), *FINISH])

    talk, token = _asked(restoring)
    whole = talk.stream([answer(token)])
    assert joined(parsed(whole)) == f"é {PLAIN} 🙂{PLAIN}\\<EMAIL"
    for cut in range(1, len(answer(token)), 3):
        talk, token = _asked(restoring)
        assert talk.stream([answer(token)[:cut], answer(token)[cut:]]) == whole
    talk, token = _asked(restoring)
    assert talk.stream(bytes([byte]) for byte in answer(token)) == whole


def test_surrogates_split_over_deltas_pass_in_order_with_restored_text(restoring: Policy) -> None:
    talk, token = _asked(restoring)
    texts = [token[:6], token[6:] + "\\ud83d", "\\ude42" + token]
    raw = [f'data: {{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}\n\n'.encode() for text in texts]
    assert joined(parsed(talk.stream([*raw, b"data: [DONE]\n\n"]))) == f"{PLAIN}\ud83d\ude42{PLAIN}"


def test_a_token_that_is_not_of_this_exchange_is_not_restored(restoring: Policy) -> None:
    _, foreign = _asked(restoring, value="someone.else@example.com")
    talk, _ = _asked(restoring)
    said = f"{foreign} <EMAIL_ADDRESS_aaaaaaaa>"
    assert joined(talk.events([delta(content=said), *FINISH])) == said


def test_a_look_alike_written_by_the_client_reveals_nothing(restoring: Policy) -> None:
    _, usual = _asked(restoring)
    talk = Talk(restoring)
    sent = talk.sent(user(f"{PLAIN} and {usual.lower()}"))["messages"][0]["content"]
    token = sent.split()[0]
    assert token.lower() != usual.lower()
    assert joined(talk.events([delta(content=f"{usual} {token}"), *FINISH])) == f"{usual} {PLAIN}"


def test_a_whole_answer_is_restored_in_every_string(restoring: Policy) -> None:
    talk, token = _asked(restoring)
    call = {"id": "call_1", "type": "function", "function": {"name": "send", "arguments": f'{{"to": "{token}"}}'}}
    message = {"role": "assistant", "content": f"To {token}", "reasoning_content": token, "tool_calls": [call]}
    answer = talk.whole({"id": "c1", "choices": [{"index": 0, "message": message}], "usage": {"prompt_tokens": 1}})
    assert PLAIN in answer["choices"][0]["message"]["content"]
    assert json.loads(answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"]) == {"to": PLAIN}
    assert token not in json.dumps(answer)


def test_an_error_that_quotes_the_prompt_is_restored(restoring: Policy) -> None:
    talk, token = _asked(restoring)
    assert PLAIN in talk.whole({"error": {"message": f"cannot read {token}"}})["error"]["message"]


def test_restore_off_leaves_the_placeholders_and_does_not_read_the_answer(tmp_path: Path) -> None:
    answer = Talk(policy(tmp_path, "restore: false")).ask(user(PLAIN))
    assert isinstance(answer, Proceed) and answer.body is not None
    assert answer.last and b"<EMAIL_ADDRESS_" in answer.body


# --- other dialects --------------------------------------------------------------------------------------------------------------


def _responses(token: str, size: int) -> list[Any]:
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    call = {"item_id": "fc_1", "output_index": 1}
    written = f'{{"to": "{token}"}}'
    item = {"type": "message", "content": [{"type": "output_text", "text": f"To {token}"}]}
    return [
        *({"type": "response.output_text.delta", **at, "delta": piece} for piece in _pieces(f"To {token}", size)),
        *({"type": "response.function_call_arguments.delta", **call, "delta": piece} for piece in _pieces(written, size)),
        {"type": "response.output_text.done", **at, "text": f"To {token}"},
        {"type": "response.function_call_arguments.done", **call, "arguments": written},
        {"type": "response.completed", "response": {"id": "resp_1", "output": [item], "instructions": f"for {token}"}},
    ]


@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_a_responses_stream_is_restored_in_deltas_and_in_what_repeats_them(restoring: Policy, size: int) -> None:
    talk, token = _asked(restoring, "/v1/responses")
    events = talk.events(_responses(token, size))
    assert token not in json.dumps(events)
    text, written = (
        "".join(each["delta"] for each in events if each["type"] == f"response.{kind}.delta")
        for kind in ("output_text", "function_call_arguments")
    )
    assert text == f"To {PLAIN}"
    assert json.loads(written) == {"to": PLAIN}
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == f"To {PLAIN}"


def test_what_a_responses_stream_held_comes_before_its_done_event(restoring: Policy) -> None:
    talk, token = _asked(restoring, "/v1/responses")
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    held = {"type": "response.output_text.delta", **at, "delta": token[:7]}
    done = {"type": "response.output_text.done", **at, "text": token[:7]}
    assert talk.events([held, done]) == [held | {"delta": ""}, held, done]


def _messages(token: str, size: int) -> list[Any]:
    def block(index: int, kind: str, name: str, text: str) -> list[Any]:
        deltas = [{"type": kind, name: piece} for piece in _pieces(text, size)]
        pieces = [{"type": "content_block_delta", "index": index, "delta": each} for each in deltas]
        start = {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
        return [start, *pieces, {"type": "content_block_stop", "index": index}]

    return [
        {"type": "message_start", "message": {"id": "msg_1", "content": []}},
        *block(0, "thinking_delta", "thinking", f"hm {token}"),
        *block(1, "text_delta", "text", f"To {token} <EM"),
        *block(2, "input_json_delta", "partial_json", f'{{"to": "{token}"}}'),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]


def _anthropic_text(events: Sequence[Any], index: int, name: str) -> str:
    deltas = [each["delta"] for each in events if each["type"] == "content_block_delta" and each["index"] == index]
    return "".join(each[name] for each in deltas)


@pytest.mark.parametrize("size", [1, 2, 5, 50])
def test_an_anthropic_stream_is_restored_block_by_block(restoring: Policy, size: int) -> None:
    talk, token = _asked(restoring, "/v1/messages")
    raw = talk.stream(event(document) for document in _messages(token, size))
    events = parsed(raw)
    assert _anthropic_text(events, 0, "thinking") == f"hm {PLAIN}"
    assert _anthropic_text(events, 1, "text") == f"To {PLAIN} <EM"
    assert json.loads(_anthropic_text(events, 2, "partial_json")) == {"to": PLAIN}
    stops = [position for position, each in enumerate(events) if each["type"] == "content_block_stop"]
    held = events[stops[1] - 1]
    assert held == {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "<EM"}} or size > 4
    assert b"event: content_block_delta\n" in raw


def test_a_legacy_completion_stream_is_restored(restoring: Policy) -> None:
    talk = Talk(restoring, "/v1/completions")
    token = talk.sent({"model": "m", "prompt": PLAIN, "stream": True})["prompt"]
    choices = [{"index": 0, "text": piece, "finish_reason": None} for piece in _pieces(f"{token}!<U", 3)]
    choices.append({"index": 0, "text": "", "finish_reason": "stop"})
    events = talk.events([*({"choices": [choice]} for choice in choices), "[DONE]"])
    assert "".join(each["choices"][0]["text"] for each in events[:-1]) == f"{PLAIN}!<U"


# --- scrubbing what the model came up with ---------------------------------------------------------------------------------------

OTHER = "joan@example.org"
_FOUND = [OTHER, "4111 1111 1111 1111", "+1 415-555-2671", "DE89 3704 0044 0532 0130 00", "2001:db8::1"]
_AROUND = ["word", "one. ", "5. 6", "e.g. ", "\n", " ", " ", "jane.", "é", "x" * 60, "a b c d e f g ", "?) ", "-" * 900]
SPOKEN = st.lists(st.sampled_from([*_FOUND, *_AROUND]), max_size=60).map("".join)


@given(SPOKEN, st.lists(st.integers(0, 2000), max_size=20))
@settings(max_examples=400, deadline=None)
def test_a_scrubbed_stream_equals_the_scrubbed_whole_however_cut(scrubbing: Policy, text: str, cuts: list[int]) -> None:
    bounds = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    talk, _ = _asked(scrubbing)
    streamed = joined(talk.events([*(delta(content=piece) for piece in pieces), *FINISH]))
    talk, _ = _asked(scrubbing)
    assert streamed == talk.whole({"choices": [{"message": {"content": text}}]})["choices"][0]["message"]["content"]


@pytest.mark.parametrize("size", [1, 3, 200])
def test_restored_values_are_not_redacted_and_the_models_own_are(scrubbing: Policy, size: int) -> None:
    talk, token = _asked(scrubbing)
    text = f"{token} knows {OTHER}. Call {token}."
    events = talk.events([*(delta(content=piece) for piece in _pieces(text, size)), *FINISH])
    assert joined(events) == f"{PLAIN} knows <EMAIL_ADDRESS>. Call {PLAIN}."
    (record,) = [effect for effect in talk.close() if getattr(effect, "kind", "") == "pii"]
    assert record.members["answer"] == {"findings": {"EMAIL_ADDRESS": 1}, "action": "redact"}  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [1, 4, 500])
def test_arguments_the_model_wrote_are_searched_decoded(scrubbing: Policy, size: int) -> None:
    talk, token = _asked(scrubbing)
    written = f'{{"to": "joan\\u0040example.org", "cc": "{token}"}}'
    events = talk.events([*(_call(piece) for piece in _pieces(written, size)), delta(finish="tool_calls"), "[DONE]"])
    assert json.loads(arguments(events)) == {"to": "<EMAIL_ADDRESS>", "cc": PLAIN}


def test_log_probabilities_do_not_spell_what_was_redacted(scrubbing: Policy) -> None:
    talk, _ = _asked(scrubbing)
    document = delta(content=OTHER)
    document["choices"][0]["logprobs"] = {"content": [{"token": OTHER}]}
    assert OTHER not in json.dumps(talk.events([document, *FINISH]))
    talk, _ = _asked(scrubbing)
    whole = {"choices": [{"message": {"content": OTHER}, "logprobs": {"content": [{"token": OTHER}]}}]}
    assert OTHER not in json.dumps(talk.whole(whole))


def test_a_run_without_blanks_is_given_out_in_windows_and_loses_no_character(scrubbing: Policy) -> None:
    talk, _ = _asked(scrubbing)
    run = "xy-" * 5000 + f",{OTHER}," + "uv-" * 2000
    out = joined(talk.events([*(delta(content=piece) for piece in _pieces(run, 997)), *FINISH]))
    assert OTHER not in out
    assert out.endswith("uv-" * 2000) and out.startswith("xy-" * 4800)


def test_an_overlong_finding_takes_the_rest_of_its_run(scrubbing: Policy) -> None:
    talk, _ = _asked(scrubbing)
    run = "https://example.org/" + "a" * 9000 + " end"
    assert joined(talk.events([*(delta(content=piece) for piece in _pieces(run, 1000)), *FINISH])) == "<URL> end"


def test_blocking_ends_the_stream_in_band_before_the_finding(tmp_path: Path) -> None:
    talk, _ = _asked(policy(tmp_path, "response: block"))
    first = "A first sentence that has as many words as a segment must have. "
    said = [delta(content=f"{first}Then "), delta(content=OTHER), *FINISH]
    raw = talk.stream(event(document) for document in said)
    assert first.encode() in raw
    assert OTHER.encode() not in raw
    assert parsed(raw)[-1]["error"]["code"] == "pii.answer_blocked"


def test_blocking_ends_an_anthropic_stream_in_its_own_dialect(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "response: {EMAIL_ADDRESS: block}"), "/v1/messages")
    talk.ask(user("hi", max_tokens=9))
    raw = talk.stream(event(document) for document in _messages(OTHER, 3))
    assert b"joan" not in raw
    assert (parsed(raw)[-1]["type"], parsed(raw)[-1]["error"]["code"]) == ("error", "pii.answer_blocked")


def test_blocking_refuses_a_whole_answer(tmp_path: Path) -> None:
    talk, _ = _asked(policy(tmp_path, "response: block"))
    told = talk.whole_raw(json.dumps({"choices": [{"message": {"content": OTHER}}]}).encode())
    assert getattr(told, "status", 0) == 403


@pytest.mark.parametrize("body", [b"data: joan@example.org", b"not json", b"\xff\xfe"])
def test_an_answer_that_cannot_be_searched_is_not_given_out(scrubbing: Policy, body: bytes) -> None:
    talk, _ = _asked(scrubbing)
    assert getattr(talk.whole_raw(body), "reason", "") == "pii.unreadable_answer"


def test_an_event_that_cannot_be_searched_ends_the_stream(scrubbing: Policy) -> None:
    talk, _ = _asked(scrubbing)
    raw = talk.stream([event(delta(content="hi ")), SseEvent.of(f"no json {OTHER}").raw, event("[DONE]")])
    assert OTHER.encode() not in raw
    assert parsed(raw)[-1]["error"]["code"] == "pii.unreadable_answer"


def test_report_gives_the_answer_out_unchanged_and_counts(tmp_path: Path) -> None:
    talk, token = _asked(policy(tmp_path, "response: report"))
    assert joined(talk.events([delta(content=f"{token} {OTHER}"), *FINISH])) == f"{PLAIN} {OTHER}"
    (record,) = [effect for effect in talk.close() if getattr(effect, "kind", "") == "pii"]
    assert record.members["answer"]["findings"] == {"EMAIL_ADDRESS": 1}  # type: ignore[union-attr]


def test_an_answer_of_too_many_parts_is_ended(restoring: Policy) -> None:
    talk, _ = _asked(restoring)
    raw = talk.stream(event(delta(index, content="<")) for index in range(2000))
    assert parsed(raw)[-1]["error"]["code"] == "pii.answer_too_large"


def test_arguments_too_long_to_search_end_the_stream(scrubbing: Policy) -> None:
    talk, _ = _asked(scrubbing)
    raw = talk.stream(event(_call("x" * 300_000)) for _ in range(5))
    assert parsed(raw)[-1]["error"]["code"] == "pii.answer_too_large"


Make = Callable[[str, int], list[Any]]


@pytest.mark.parametrize(("path", "make"), [("/v1/responses", _responses), ("/v1/messages", _messages)])
def test_every_dialect_is_scrubbed(scrubbing: Policy, path: str, make: Make) -> None:
    for size in (1, 6, 100):
        talk, _ = _asked(scrubbing, path)
        raw = talk.stream(event(document) for document in make(OTHER, size))
        assert OTHER.encode() not in raw and b"<EMAIL_ADDRESS>" in raw


def test_content_in_parts_is_a_channel_like_any_other(scrubbing: Policy) -> None:
    def part(text: str) -> dict[str, Any]:
        return delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}])

    talk, token = _asked(scrubbing)
    events = talk.events([part(piece) for piece in _pieces(f"{token} and {OTHER}", 3)] + FINISH)
    parts = [each["choices"][0]["delta"]["content"][0] for each in events[:-2]]
    assert "".join(each["thinking"][0]["text"] for each in parts) == f"{PLAIN} and <EMAIL_ADDRESS>"
    assert parts[-1] == {"type": "thinking", "thinking": [{"type": "text", "text": parts[-1]["thinking"][0]["text"]}]}


def test_what_a_searched_event_hides_under_a_second_key_is_not_given_out(scrubbing: Policy) -> None:
    talk, _ = _asked(scrubbing)
    choice = f'{{"index": 0, "delta": {{"content": "{OTHER}", "content": "hi"}}}}'
    out = talk.stream([f'data: {{"choices": [{choice}]}}\nother: {OTHER}\n\n'.encode(), event("[DONE]")])
    assert OTHER.encode() not in out
    assert joined(parsed(out)) == "hi"


def test_json_that_was_asked_for_stays_valid_when_a_value_is_put_into_it(restoring: Policy) -> None:
    value = "http://example.com/a\\b"
    chat = user(value, response_format={"type": "json_object"})
    responses = {"model": "m", "input": value, "text": {"format": {"type": "json_schema"}}}
    for path, body in ((CHAT, chat), ("/v1/responses", responses)):
        talk = Talk(restoring, path)
        (token,) = re.findall("<URL_.{8}>", json.dumps(talk.sent(body)))
        answer = talk.whole({"choices": [{"message": {"content": f'{{"url": "{token}"}}'}}]})
        assert json.loads(answer["choices"][0]["message"]["content"]) == {"url": value}


# --- with a model ----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not default_models(), reason="needs the extra ner")
def test_a_stream_that_asks_a_model_does_so_off_the_event_loop_and_gives_what_the_whole_gives(tmp_path: Path) -> None:
    used = warm(policy(tmp_path, "model: rampart, request: off, response: redact, entities: [PERSON, EMAIL_ADDRESS]"), Inline())
    text = f"The report was written by Margaret Thornbury, who can be reached at {OTHER} on most days of the week."
    whole = Talk(used)
    whole.ask(user("hi"))
    expected = whole.whole({"choices": [{"message": {"content": text}}]})["choices"][0]["message"]["content"]
    assert expected == text.replace("Margaret Thornbury", "<PERSON>").replace(OTHER, "<EMAIL_ADDRESS>")
    for size in (1, 9):
        talk = Talk(used)
        talk.ask(user("hi"))
        assert joined(talk.events([*(delta(content=piece) for piece in _pieces(text, size)), *FINISH])) == expected
        assert all(seat.session.away is not None for seat in talk.exchange._seats if seat.link.name == "pii")
