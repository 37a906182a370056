"""Streamed answers that are searched: the same as the whole, however they are cut."""

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.ext_proc.core.events import Deliver
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.warming import warm
from headrace.filters.pii.models.names import default_models
from tests.filters.compiled import Inline

from .driver import CHAT, Talk, arguments, delta, event, joined, parsed, policy, user
from .streaming import FINISH, OTHER, PLAIN, asked, called, in_pieces, messages_events, responses_events

_FOUND = [OTHER, "4111 1111 1111 1111", "+1 415-555-2671", "DE89 3704 0044 0532 0130 00", "2001:db8::1"]
_AROUND = ["word", "one. ", "5. 6", "e.g. ", "\n", " ", " ", "jane.", "é", "x" * 60, "a b c d e f g ", "?) ", "-" * 900]
SPOKEN = st.lists(st.sampled_from([*_FOUND, *_AROUND]), max_size=60).map("".join)


@given(SPOKEN, st.lists(st.integers(0, 2000), max_size=20))
@settings(max_examples=400, deadline=None)
def test_a_scrubbed_stream_equals_the_scrubbed_whole_however_cut(scrubbing: Policy, text: str, cuts: list[int]) -> None:
    bounds = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    talk, _ = asked(scrubbing)
    streamed = joined(talk.events([*(delta(content=piece) for piece in pieces), *FINISH]))
    talk, _ = asked(scrubbing)
    assert streamed == talk.whole({"choices": [{"message": {"content": text}}]})["choices"][0]["message"]["content"]


@pytest.mark.parametrize("size", [1, 3, 200])
def test_restored_values_are_not_redacted_and_the_models_own_are(scrubbing: Policy, size: int) -> None:
    talk, token = asked(scrubbing)
    text = f"{token} knows {OTHER}. Call {token}."
    events = talk.events([*(delta(content=piece) for piece in in_pieces(text, size)), *FINISH])
    assert joined(events) == f"{PLAIN} knows <EMAIL_ADDRESS>. Call {PLAIN}."
    (record,) = [effect for effect in talk.close() if getattr(effect, "kind", "") == "pii"]
    assert record.members["answer"] == {"findings": {"EMAIL_ADDRESS": 1}, "action": "redact"}  # type: ignore[union-attr]


@pytest.mark.parametrize("size", [1, 4, 500])
def test_arguments_the_model_wrote_are_searched_decoded(scrubbing: Policy, size: int) -> None:
    talk, token = asked(scrubbing)
    written = f'{{"to": "joan\\u0040example.org", "cc": "{token}"}}'
    events = talk.events([*(called(piece) for piece in in_pieces(written, size)), delta(finish="tool_calls"), "[DONE]"])
    assert json.loads(arguments(events)) == {"to": "<EMAIL_ADDRESS>", "cc": PLAIN}


def test_log_probabilities_do_not_spell_what_was_redacted(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing)
    document = delta(content=OTHER)
    document["choices"][0]["logprobs"] = {"content": [{"token": OTHER}]}
    assert OTHER not in json.dumps(talk.events([document, *FINISH]))
    talk, _ = asked(scrubbing)
    whole = {"choices": [{"message": {"content": OTHER}, "logprobs": {"content": [{"token": OTHER}]}}]}
    assert OTHER not in json.dumps(talk.whole(whole))


def test_a_run_without_blanks_is_given_out_in_windows_and_loses_no_character(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing)
    run = "xy-" * 5000 + f",{OTHER}," + "uv-" * 2000
    out = joined(talk.events([*(delta(content=piece) for piece in in_pieces(run, 997)), *FINISH]))
    assert OTHER not in out
    assert out.endswith("uv-" * 2000) and out.startswith("xy-" * 4800)


def test_an_overlong_finding_takes_the_rest_of_its_run(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing)
    run = "https://example.org/" + "a" * 9000 + " end"
    assert joined(talk.events([*(delta(content=piece) for piece in in_pieces(run, 1000)), *FINISH])) == "<URL> end"


def test_blocking_ends_the_stream_in_band_before_the_finding(tmp_path: Path) -> None:
    talk, _ = asked(policy(tmp_path, "response: block"))
    first = "A first sentence that has as many words as a segment must have. "
    said = [delta(content=f"{first}Then "), delta(content=OTHER), *FINISH]
    raw = talk.stream(event(document) for document in said)
    assert first.encode() in raw
    assert OTHER.encode() not in raw
    assert parsed(raw)[-1]["error"]["code"] == "pii.answer_blocked"


def test_blocking_ends_an_anthropic_stream_in_its_own_dialect(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "response: {EMAIL_ADDRESS: block}"), "/v1/messages")
    talk.ask(user("hi", max_tokens=9))
    raw = talk.stream(event(document) for document in messages_events(OTHER, 3))
    assert b"joan" not in raw
    assert (parsed(raw)[-1]["type"], parsed(raw)[-1]["error"]["code"]) == ("error", "pii.answer_blocked")


def test_blocking_refuses_a_whole_answer(tmp_path: Path) -> None:
    talk, _ = asked(policy(tmp_path, "response: block"))
    told = talk.whole_raw(json.dumps({"choices": [{"message": {"content": OTHER}}]}).encode())
    assert getattr(told, "status", 0) == 403


UNSEARCHABLE = {
    "an event": b"data: joan@example.org",
    "no JSON": b"not json",
    "no text": b"\xff\xfe",
    "nested too deep": b"[" * 3_000 + b'"joan@example.org"' + b"]" * 3_000,
}


@pytest.mark.parametrize("body", UNSEARCHABLE.values(), ids=UNSEARCHABLE)
def test_an_answer_that_cannot_be_searched_is_not_given_out(scrubbing: Policy, body: bytes) -> None:
    talk, _ = asked(scrubbing)
    assert getattr(talk.whole_raw(body), "reason", "") == "pii.unreadable_answer"


@pytest.mark.parametrize("data", [f"no json {OTHER}", "[" * 3_000 + f'"{OTHER}"' + "]" * 3_000], ids=["no JSON", "nested too deep"])
def test_an_event_that_cannot_be_searched_ends_the_stream(scrubbing: Policy, data: str) -> None:
    talk, _ = asked(scrubbing)
    raw = talk.stream([event(delta(content="hi ")), SseEvent.of(data).raw, event("[DONE]")])
    assert OTHER.encode() not in raw
    assert parsed(raw)[-1]["error"]["code"] == "pii.unreadable_answer"


def test_report_gives_the_answer_out_unchanged_and_counts(tmp_path: Path) -> None:
    talk, token = asked(policy(tmp_path, "response: report"))
    assert joined(talk.events([delta(content=f"{token} {OTHER}"), *FINISH])) == f"{PLAIN} {OTHER}"
    (record,) = [effect for effect in talk.close() if getattr(effect, "kind", "") == "pii"]
    assert record.members["answer"]["findings"] == {"EMAIL_ADDRESS": 1}  # type: ignore[union-attr]


def test_an_answer_of_too_many_parts_is_ended(restoring: Policy) -> None:
    talk, _ = asked(restoring)
    raw = talk.stream(event(delta(index, content="<")) for index in range(2000))
    assert parsed(raw)[-1]["error"]["code"] == "pii.answer_too_large"


def test_arguments_too_long_to_search_end_the_stream(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing)
    raw = talk.stream(event(called("x" * 300_000)) for _ in range(5))
    assert parsed(raw)[-1]["error"]["code"] == "pii.answer_too_large"


Make = Callable[[str, int], list[Any]]


@pytest.mark.parametrize(("path", "make"), [("/v1/responses", responses_events), ("/v1/messages", messages_events)])
def test_every_dialect_is_scrubbed(scrubbing: Policy, path: str, make: Make) -> None:
    for size in (1, 6, 100):
        talk, _ = asked(scrubbing, path)
        raw = talk.stream(event(document) for document in make(OTHER, size))
        assert OTHER.encode() not in raw and b"<EMAIL_ADDRESS>" in raw


@pytest.mark.parametrize("finish", ["", False, 0])
def test_a_finish_reason_that_says_nothing_ends_no_channel(scrubbing: Policy, finish: Any) -> None:
    talk, token = asked(scrubbing)
    pieces = [*in_pieces(f"{token} and {OTHER} too", 5), ""]
    raw = talk.stream(event(delta(content=piece, finish=finish)) for piece in pieces)
    assert joined(parsed(raw)) == f"{PLAIN} and <EMAIL_ADDRESS> too"


@pytest.mark.parametrize("finish", ["", None])
def test_a_finish_reason_that_says_nothing_ends_no_legacy_text(scrubbing: Policy, finish: Any) -> None:
    talk = Talk(scrubbing, "/v1/completions")
    talk.sent({"model": "m", "prompt": "hi"})
    choices = [{"index": 0, "text": piece, "finish_reason": finish} for piece in in_pieces(f"to {OTHER} now", 5)]
    events = talk.events([*({"choices": [choice]} for choice in choices), "[DONE]"])
    assert "".join(each["choices"][0]["text"] for each in events[:-1]) == "to <EMAIL_ADDRESS> now"


@pytest.mark.parametrize(
    ("path", "between"),
    [
        ("/v1/messages", {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 3}}),
        ("/v1/messages", {"type": "message_delta", "delta": {"stop_reason": ""}}),
        ("/v1/messages", {"type": "ping"}),
        ("/v1/responses", {"sequence_number": 4}),
    ],
)
def test_an_event_between_two_pieces_ends_no_channel(scrubbing: Policy, path: str, between: dict[str, Any]) -> None:
    make = messages_events if path == "/v1/messages" else responses_events
    talk, _ = asked(scrubbing, path)
    raw = talk.stream(event(document) for each in make(OTHER, 5) for document in (between, each))
    assert OTHER not in "".join(_said(document) for document in parsed(raw))


def _said(document: dict[str, Any]) -> str:
    """The text of a delta of Anthropic's or of the Responses API's."""
    delta = document.get("delta", "")
    return delta if isinstance(delta, str) else str(delta.get("text", ""))


def test_content_in_parts_is_a_channel_like_any_other(scrubbing: Policy) -> None:
    def part(text: str) -> dict[str, Any]:
        return delta(content=[{"type": "thinking", "thinking": [{"type": "text", "text": text}]}])

    talk, token = asked(scrubbing)
    events = talk.events([part(piece) for piece in in_pieces(f"{token} and {OTHER}", 3)] + FINISH)
    parts = [each["choices"][0]["delta"]["content"][0] for each in events[:-2]]
    assert "".join(each["thinking"][0]["text"] for each in parts) == f"{PLAIN} and <EMAIL_ADDRESS>"
    assert parts[-1] == {"type": "thinking", "thinking": [{"type": "text", "text": parts[-1]["thinking"][0]["text"]}]}


def test_citations_come_whole_and_in_their_events(scrubbing: Policy) -> None:
    def cited(title: str) -> dict[str, Any]:
        citation = {"title": title, "content": f"{title}, page", "start_index": 0}
        return delta(annotations=[{"type": "url_citation", "url_citation": citation}])

    talk, token = asked(scrubbing)
    said = [delta(content="As the "), cited("Report A"), cited(f"{token} by {OTHER}"), cited("Report C"), *FINISH]
    expected = [cited("Report A"), cited(f"{PLAIN} by <EMAIL_ADDRESS>"), cited("Report C")]
    assert talk.events(said)[1:4] == expected


def test_of_a_streams_reasoning_only_the_text_is_in_pieces(scrubbing: Policy) -> None:
    shared = {"type": "reasoning.text", "format": "anthropic-claude-v1", "id": "rs_2024-01-01", "index": 0}

    def thought(**members: str) -> dict[str, Any]:
        return delta(reasoning_details=[{**shared, **members}])

    talk, _ = asked(scrubbing)
    pieces = [thought(text=piece) for piece in in_pieces(f"ask {OTHER} now", 4)]
    sealed = [thought(signature="Eq0A4111111111111111+/x=="), thought(data="4111111111111111AAAA")]
    events = talk.events([*pieces, *sealed, *FINISH])
    details = [each["choices"][0]["delta"]["reasoning_details"][0] for each in events[:-2]]
    assert "".join(each.get("text", "") for each in details) == "ask <EMAIL_ADDRESS> now"
    assert all(each | {"text": ""} == {**shared, "text": ""} for each in details[: len(pieces)])
    assert events[len(pieces) : len(pieces) + 2] == sealed


@pytest.mark.parametrize("last", ["hi", OTHER])
def test_what_a_whole_answer_hides_under_a_second_key_is_not_given_out(scrubbing: Policy, last: str) -> None:
    talk, _ = asked(scrubbing)
    raw = f'{{"choices": [{{"message": {{"content": "{OTHER}", "content": "{last}"}}}}]}}'.encode()
    answer = talk.whole_raw(raw)
    assert isinstance(answer, Deliver) and OTHER.encode() not in answer.data


def test_members_that_a_server_adds_are_read_as_streaming(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing)
    pieces = [
        delta(added={"words": [{"said": f"so {OTHER[:5]}"}]}),
        delta(added={"words": [{"said": f"{OTHER[5:]} it is"}]}),
        *FINISH,
    ]
    out = json.dumps(talk.events(pieces))
    assert "<EMAIL_ADDRESS>" in out and OTHER[5:] not in out


def test_what_a_searched_event_hides_under_a_second_key_is_not_given_out(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing)
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


@pytest.mark.parametrize(
    "asked_for", [{"output_format": {"type": "json_schema"}}, {"output_config": {"format": {"type": "json_schema"}}}]
)
def test_so_does_what_was_asked_of_anthropic(restoring: Policy, asked_for: dict[str, Any]) -> None:
    value = "http://example.com/a\\b"
    talk = Talk(restoring, "/v1/messages")
    sent = talk.sent({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": value}], **asked_for})
    (token,) = re.findall("<URL_.{8}>", json.dumps(sent))
    answer = talk.whole({"type": "message", "content": [{"type": "text", "text": f'{{"url": "{token}"}}'}]})
    assert json.loads(answer["content"][0]["text"]) == {"url": value}


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
        assert joined(talk.events([*(delta(content=piece) for piece in in_pieces(text, size)), *FINISH])) == expected
        assert all(seat.session.away is not None for seat in talk.exchange._seats if seat.link.name == "pii")
