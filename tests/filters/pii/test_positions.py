"""Annotations of an answer point at the same words, whatever was replaced before them."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.engine.policy.compile import Policy
from headrace.filters.pii.moves import Moves

from .driver import CHAT, Talk, delta, joined, user
from .streaming import FINISH, OTHER, PLAIN, in_pieces

CITED = ("Wikipedia", "the Britannica")


@pytest.fixture(params=["restoring", "scrubbing"])
def used(request: pytest.FixtureRequest) -> Policy:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Policy)
    return found


def talk_about_sources(used: Policy, path: str = CHAT) -> tuple[Talk, str]:
    """An exchange in which the model may cite, and what it says of a value of the request."""
    talk = Talk(used, path)
    if path == CHAT:
        token = talk.sent(user(PLAIN, web_search_options={}))["messages"][0]["content"]
    else:
        token = talk.sent({"model": "m", "input": PLAIN, "tools": [{"type": "web_search"}]})["input"]
    return talk, f"Ask {token}. As Wikipedia says to {token} and {OTHER}, which <b>the Britannica</b> says as well, there is none."


def positions(text: str, word: str) -> dict[str, int]:
    return {"start_index": text.index(word), "end_index": text.index(word) + len(word)}


def cited(text: str, word: str) -> dict[str, Any]:
    return {"type": "url_citation", "url_citation": {"url": "https://example.org", "title": word, **positions(text, word)}}


def words(text: str, annotations: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(text[each["start_index"] : each["end_index"]] for each in annotations)


def test_of_a_whole_chat(used: Policy) -> None:
    talk, said = talk_about_sources(used)
    message = {"role": "assistant", "content": said, "annotations": [cited(said, word) for word in CITED]}
    got = talk.whole({"id": "c1", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})["choices"][0]["message"]
    assert PLAIN in got["content"]
    assert words(got["content"], [each["url_citation"] for each in got["annotations"]]) == CITED


def test_of_a_whole_response(used: Policy) -> None:
    talk, said = talk_about_sources(used, "/v1/responses")
    part = {
        "type": "output_text",
        "text": said,
        "annotations": [{"type": "url_citation", **positions(said, word)} for word in CITED],
    }
    [got] = talk.whole({"output": [{"type": "message", "content": [part]}]})["output"][0]["content"]
    assert PLAIN in got["text"]
    assert words(got["text"], got["annotations"]) == CITED


@pytest.mark.parametrize("size", [1, 7, 20, 400])
def test_of_a_streamed_chat(used: Policy, size: int) -> None:
    """They come when the text has: the last words are still held then."""
    talk, said = talk_about_sources(used)
    annotated = delta(annotations=[cited(said, word) for word in CITED])
    events = talk.events([*(delta(content=piece) for piece in in_pieces(said, size)), annotated, *FINISH])
    [place] = [place for place, each in enumerate(events) if each != "[DONE]" and "annotations" in each["choices"][0]["delta"]]
    found = [each["url_citation"] for each in events[place]["choices"][0]["delta"]["annotations"]]
    assert words(joined(events[:place]), found) == CITED


@pytest.mark.parametrize("size", [1, 7, 20, 400])
def test_of_a_streamed_response(used: Policy, size: int) -> None:
    """Each comes with the words that it is of."""
    talk, said = talk_about_sources(used, "/v1/responses")
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    sent: list[Any] = []
    done = 0
    for piece in in_pieces(said, size):
        sent.append({"type": "response.output_text.delta", **at, "delta": piece})
        before, done = done, done + len(piece)
        for word in CITED:
            if before < said.index(word) + len(word) <= done:
                annotation = {"type": "url_citation", **positions(said, word)}
                sent.append({"type": "response.output_text.annotation.added", **at, "annotation": annotation})
    sent += [{"type": "response.output_text.done", **at, "text": said}, {"type": "response.completed", "response": {}}]
    text = ""
    found: list[str] = []
    for each in talk.events(sent):
        if each["type"] == "response.output_text.delta":
            text += each["delta"]
        elif each["type"] == "response.output_text.annotation.added":
            found += words(text, [each["annotation"]])
    assert tuple(found) == CITED


def test_of_text_that_comes_with_the_end(used: Policy) -> None:
    talk, said = talk_about_sources(used)
    last = delta(content=said[50:], annotations=[cited(said, word) for word in CITED], finish="stop")
    events = talk.events([delta(content=said[:50]), last, "[DONE]"])
    found = [one for each in events[:-1] for one in each["choices"][0]["delta"].get("annotations", ())]
    assert words(joined(events), [each["url_citation"] for each in found]) == CITED


def test_what_points_nowhere_is_left_alone(used: Policy) -> None:
    talk, said = talk_about_sources(used)
    odd = [{"type": "url_citation", "url_citation": {"start_index": 9999, "end_index": None}}, {"type": "file", "url_citation": 1}]
    events = talk.events([delta(content=said), delta(annotations=odd), *FINISH])
    assert [each["choices"][0]["delta"]["annotations"] for each in events[:-1] if "annotations" in each["choices"][0]["delta"]] == [
        odd
    ]


def test_annotations_that_wait_have_a_limit(used: Policy) -> None:
    talk, said = talk_about_sources(used)
    early = delta(annotations=[cited(said, CITED[0])])
    [*_, last] = talk.events([delta(content=said[:5]), *[early] * 2000, *FINISH])
    assert last["error"]["code"] == "pii.answer_too_large"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5), st.text("x", max_size=9))), st.integers(0, 20))
def test_a_position_moves_as_the_text_around_it(parts: list[tuple[int, int, str]], tail: int) -> None:
    """parts: characters that stay, then characters in place of which others come."""
    moves, at, went = Moves(), 0, 0
    expected: dict[int, int] = {}
    for kept, length, by in parts:
        expected |= {at + step: went + step for step in range(kept + 1)}
        moves.replaced(at + kept, at + kept + length, by)
        expected |= dict.fromkeys(range(at + kept, at + kept + length), went + kept)
        at, went = at + kept + length, went + kept + len(by)
    expected |= {at + step: went + step for step in range(tail + 1)}
    assert {position: moves.of(position) for position in expected} == expected
