"""An attempt's answer on its way: held until its first bytes come, or put into the other API's words."""

import json
from typing import Any

import pytest

from headrace.ext_proc.core.answer_half import MAX_ANSWER
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.engine.translate import TO_ANTHROPIC, TO_OPENAI, Translator
from headrace.ext_proc.envoy.passages import FirstToken, Passage, Translated
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from tests.envoy.sent import answer_body, answer_head, answer_tail, headers_set, kinds, request_body, streamed

HEAD, BODY, TAIL = "response_headers", "response_body", "response_trailers"
WHOLE = {
    "id": "msg_1",
    "model": "claude",
    "role": "assistant",
    "content": [{"type": "text", "text": "water"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 8, "output_tokens": 2},
}
EVENTS: list[dict[str, Any]] = [
    {"type": "ping"},
    {"type": "message_start", "message": {**WHOLE, "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "water"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
]
PING, *SAID = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in EVENTS]


def translated() -> Translated:
    return Translated(TO_ANTHROPIC, {"model": "claude", "stream": True}, 7)


def test_the_head_of_a_stream_waits_for_its_first_bytes() -> None:
    passage = FirstToken()
    assert passage.receive(answer_head()) == []
    first = passage.receive(answer_body(b"data: 1\n\n"))
    assert (kinds(first), streamed(first)) == ([HEAD, BODY], (b"data: 1\n\n", False))
    assert not passage.over
    last = passage.receive(answer_body(b"data: 2\n\n", end=True))
    assert (kinds(last), streamed(last)) == ([BODY], (b"data: 2\n\n", True))
    assert passage.over


@pytest.mark.parametrize("status", ["429", "500", "200 ", ""])
def test_an_error_is_passed_on_at_once_so_that_envoy_sees_what_to_retry(status: str) -> None:
    passage = FirstToken()
    assert kinds(passage.receive(answer_head(status))) == [HEAD]
    assert kinds(passage.receive(answer_body(b"x", end=True))) == [BODY]


def test_an_answer_of_a_head_alone_is_over_with_it() -> None:
    passage = FirstToken()
    assert kinds(passage.receive(answer_head(end=True))) == [HEAD]
    assert passage.over


def test_a_stream_without_a_body_is_released_by_its_trailers() -> None:
    passage = FirstToken()
    passage.receive(answer_head())
    assert kinds(passage.receive(answer_tail())) == [HEAD, TAIL]
    assert passage.over


@pytest.mark.parametrize("passage", [FirstToken(), translated()], ids=["first token", "translated"])
def test_what_no_answer_has_is_an_error(passage: Passage) -> None:
    with pytest.raises(ProtocolError, match="does not have"):
        passage.receive(request_body(b""))


def test_the_head_of_a_translated_stream_waits_for_its_first_words_not_for_a_ping() -> None:
    passage = translated()
    assert passage.receive(answer_head()) == []
    assert passage.receive(answer_body(PING)) == []
    first = passage.receive(answer_body(SAID[0]))
    assert kinds(first) == [HEAD, BODY]
    assert list(first[0].response_headers.response.header_mutation.remove_headers) == ["content-length"]


def spoken(passage: Translated, pieces: list[bytes]) -> bytes:
    """What the caller gets of a stream that comes in these pieces."""
    found: list[pb.ProcessingResponse] = list(passage.receive(answer_head()))
    for piece in pieces:
        found += passage.receive(answer_body(piece))
    found += passage.receive(answer_body(b"", end=True))
    assert kinds(found).count(HEAD) == 1
    data, ended = streamed(found)
    assert ended
    return data


def test_a_translated_stream_is_the_same_however_it_is_cut() -> None:
    data = b"".join([PING, *SAID])
    at_events = spoken(translated(), [PING, *SAID])
    assert b'"content":"water"' in at_events.replace(b": ", b":")
    assert at_events.endswith(b"data: [DONE]\n\n")
    assert spoken(translated(), [data]) == at_events
    assert spoken(translated(), [data[at : at + 1] for at in range(len(data))]) == at_events


def test_a_stream_without_its_end_mark_is_given_one_by_its_end_or_its_trailers() -> None:
    whole = spoken(translated(), SAID)
    assert spoken(translated(), SAID[:-1]) == whole
    trailed = translated()
    found: list[pb.ProcessingResponse] = [*trailed.receive(answer_head()), *trailed.receive(answer_body(b"".join(SAID[:-1])))]
    found += trailed.receive(answer_tail())
    assert streamed(found)[0] == whole


def test_a_stream_that_breaks_off_does_not_look_whole() -> None:
    assert b"[DONE]" not in spoken(translated(), SAID[:3])


def test_an_answer_that_is_no_stream_is_translated_whole() -> None:
    passage = translated()
    assert passage.receive(answer_head("200", "application/json")) == []
    raw = json.dumps(WHOLE).encode()
    assert passage.receive(answer_body(raw[:20])) == []
    last = passage.receive(answer_body(raw[20:], end=True))
    data, ended = streamed(last)
    assert (kinds(last), ended) == ([HEAD, BODY], True)
    document = json.loads(data)
    assert document["choices"][0]["message"]["content"] == "water"
    assert document["usage"]["total_tokens"] == 10


def test_trailers_end_an_event_that_has_no_blank_line_behind_it() -> None:
    ended, trailed = translated(), translated()
    for passage in (ended, trailed):
        passage.receive(answer_head(content_type="text/event-stream"))
    said = b"".join(SAID).rstrip()
    whole = streamed(ended.receive(answer_body(said, end=True)))[0]
    assert whole.endswith(b"data: [DONE]\n\n")
    assert streamed(trailed.receive(answer_body(said)))[0] + streamed(trailed.receive(answer_tail()))[0] == whole


def test_trailers_end_a_whole_answer_too() -> None:
    passage = translated()
    passage.receive(answer_head("200", "application/json"))
    passage.receive(answer_body(json.dumps(WHOLE).encode()))
    last = passage.receive(answer_tail())
    assert kinds(last) == [HEAD, BODY, TAIL]
    assert json.loads(streamed(last)[0])["object"] == "chat.completion"
    assert passage.over


def test_an_error_is_in_the_callers_words() -> None:
    passage = translated()
    passage.receive(answer_head("529", "application/json"))
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    data, _ = streamed(passage.receive(answer_body(json.dumps(error).encode(), end=True)))
    assert json.loads(data)["error"]["message"] == "busy"


@pytest.mark.parametrize("page", [b"<html>bad gateway</html>", b"[1]", b"", b"\xff"])
def test_a_page_that_is_no_document_is_left_as_it_is(page: bytes) -> None:
    passage = translated()
    passage.receive(answer_head("502", "text/html"))
    assert streamed(passage.receive(answer_body(page, end=True))) == (page, True)


def test_a_whole_answer_has_a_limit() -> None:
    passage = translated()
    passage.receive(answer_head("200", "application/json"))
    passage.receive(answer_body(bytes(MAX_ANSWER)))
    with pytest.raises(ProtocolError, match="more than"):
        passage.receive(answer_body(b"1"))


def test_an_answer_without_a_body_is_over_with_its_head() -> None:
    passage = translated()
    assert kinds(passage.receive(answer_head(end=True))) == [HEAD]
    assert passage.over


@pytest.mark.parametrize(
    ("translator", "sent", "added"),
    [
        (TO_OPENAI, {"x-request-id": "req_1"}, {"request-id": "req_1"}),
        (TO_ANTHROPIC, {"request-id": "req_1"}, {"x-request-id": "req_1"}),
        (TO_ANTHROPIC, {"request-id": "req_1", "x-request-id": "r"}, {}),
        (TO_ANTHROPIC, {}, {}),
    ],
)
def test_the_id_of_a_request_is_where_the_callers_sdk_looks(
    translator: Translator, sent: dict[str, str], added: dict[str, str]
) -> None:
    [head] = Translated(translator, {"model": "m"}, 7).receive(answer_head("204", end=True, others=sent))
    assert headers_set(head.response_headers.response.header_mutation) == added
