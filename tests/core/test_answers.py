"""The answer's way through an exchange: which are read; whole ones changed, replaced, refused."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from headrace.ext_proc.core import answer_half
from headrace.ext_proc.core.effects import Cause, Outcome
from headrace.ext_proc.core.events import Deliver, Event, Hold, Proceed, Reading, Refuse, ResponseBody, ResponseTrailers
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Response
from headrace.ext_proc.core.session import EndStream, Link
from headrace.ext_proc.core.terms import terms_of, written
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.core.verdict import Continue, Edits, SetMember
from tests.kit import (
    DENIED,
    STREAM,
    answer_head,
    filter_of,
    last,
    noting,
    proceeds,
    told,
)

from .answering import ANSWER, asked, delivered, outcome, reads, whole

# --- which answers are read ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content_type", "reading"),
    [
        ("application/json", Reading.WHOLE),
        ("", Reading.WHOLE),
        ("text/event-stream", Reading.STREAM),
        ("Text/Event-Stream;x", Reading.STREAM),
    ],
)
async def test_how_an_answer_is_read_follows_from_its_content_type(content_type: str, reading: Reading) -> None:
    exchange = await asked(reads())
    assert proceeds(await last(exchange, answer_head(content_type))).read is reading


@pytest.mark.parametrize(
    ("needs", "head"), [(Needs.RESPONSE_BODY, STREAM), (Needs.RESPONSE_STREAM, answer_head()), (Needs.RESPONSE_HEADERS, STREAM)]
)
async def test_an_answer_of_the_other_kind_is_handed_over_to_the_access_log(needs: Needs, head: Event) -> None:
    filter = filter_of(needs=Needs.REQUEST_BODY | needs)
    exchange = await asked(filter)
    settling = {"settle": "access_log", "lease": written(terms_of(exchange._request))}
    assert await last(exchange, head) == Proceed(metadata=settling, last=True)
    assert outcome(exchange, filter).cause is Cause.HANDED_OFF


async def test_an_answer_without_a_body_is_complete() -> None:
    filter = reads()
    exchange = await asked(filter)
    assert await last(exchange, replace(answer_head(status=204), end=True)) == Proceed(last=True)
    assert (outcome(exchange, filter).cause, filter.session.outcomes[0].status) == (Cause.COMPLETED, 204)


@pytest.mark.parametrize("head", [answer_head(content_encoding="gzip"), answer_head("text/event-stream", content_encoding="br")])
async def test_a_compressed_answer_that_must_be_read_is_refused(head: Event) -> None:
    answer = await last(await asked(reads()), head)
    assert isinstance(answer, Refuse)
    assert (answer.status, answer.reason) == (502, "response.encoded")


# --- whole answers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[], [1], [0, 0, 5]])
async def test_a_whole_answer_is_the_same_wherever_its_chunks_are_cut(cuts: Sequence[int]) -> None:
    seen: list[Any] = []
    filter = reads(on_response=noting(seen, lambda response: response.document))
    exchange = await asked(filter)
    data = whole(ANSWER).data
    edges = [0, *cuts, len(data)]
    parts = [ResponseBody(data[left:right]) for left, right in pairwise(edges)]
    answers = await told(exchange, answer_head(), *parts[:-1], replace(parts[-1], end=True))
    assert answers[1:-1] == [Hold()] * len(cuts)
    assert answers[-1] == Deliver(data, end=True, headers=Edits(), same=True)
    assert seen == [ANSWER]
    assert outcome(exchange, filter) == Outcome(Cause.COMPLETED, 200, Usage(3, 4), "", forwarded=True, input_tokens=3)


async def test_a_whole_answer_may_end_in_trailers() -> None:
    exchange = await asked(reads())
    answer = await last(exchange, answer_head(), whole(ANSWER, end=False), ResponseTrailers())
    assert (delivered(answer).end, delivered(answer).trailers, delivered(answer).same) == (False, True, True)


async def test_filters_answer_in_reverse_order_and_see_each_others_edits() -> None:
    order: list[tuple[str, Any]] = []

    def sets(name: str) -> Any:
        def hook(response: Response) -> Continue:
            order.append((name, dict(response.document)))
            return Continue(Edits(members=[SetMember((name,), 1)], set_headers={f"x-{name}": "1"}))

        return hook

    exchange = await asked(reads(on_response=sets("a")), reads(on_response=sets("b")))
    answer = delivered(await last(exchange, answer_head(), whole({"id": "x"})))
    assert order == [("b", {"id": "x"}), ("a", {"id": "x", "b": 1})]
    assert (json.loads(answer.data), answer.same) == ({"id": "x", "b": 1, "a": 1}, False)
    assert answer.headers is not None
    assert dict(answer.headers.set_headers) == {"x-a": "1", "x-b": "1"}


async def test_only_filters_that_need_or_join_a_whole_answer_are_asked() -> None:
    joins = filter_of(joins=Needs.RESPONSE_BODY)
    stranger = filter_of(needs=Needs.RESPONSE_STREAM)
    await last(await asked(reads(), joins, stranger), answer_head(), whole(ANSWER))
    assert "on_response" in joins.session.heard
    assert "on_response" not in stranger.session.heard


async def test_an_answer_that_is_no_json_is_replaced_as_a_whole() -> None:
    texts: list[Any] = []

    def hook(response: Response) -> Continue:
        texts.append((response.text, response.document))
        return Continue(Edits(body=b"gone"))

    exchange = await asked(reads(on_response=noting(texts, lambda response: response.text)), reads(on_response=hook))
    answer = delivered(await last(exchange, answer_head("text/plain"), whole(b"secret")))
    assert (answer.data, answer.same) == (b"gone", False)
    assert texts == [("secret", None), "gone"]


async def test_an_answer_that_is_not_utf8_has_no_text() -> None:
    response = Response(200, answer_head().headers, is_stream=False)
    response.body = b"\xff"
    assert response.text is None


async def test_a_reply_takes_the_place_of_an_answer() -> None:
    filter = reads(on_response=DENIED)
    exchange = await asked(filter)
    answer = await last(exchange, answer_head(), whole(ANSWER))
    assert isinstance(answer, Refuse)
    assert answer.reason == "test.denied"
    assert outcome(exchange, filter) == Outcome(Cause.REFUSED, 200, Usage(3, 4), "", forwarded=True, input_tokens=3)


@pytest.mark.parametrize("script", [{"on_response": ValueError()}, {"on_response": None}, {"on_response": EndStream(DENIED)}])
@pytest.mark.parametrize("way", ["closed", "open", "shadow"])
async def test_a_filter_that_fails_on_an_answer(script: dict[str, Any], way: str) -> None:
    link = Link("fragile", reads(**script), shadow=way == "shadow", fail_open=way == "open")
    answer = await last(await asked(link), answer_head(), whole(ANSWER))
    if way == "closed":
        assert isinstance(answer, Refuse)
        assert answer.reason == "fragile.failed"
    else:
        assert delivered(answer).same


async def test_a_shadow_filter_changes_no_answer() -> None:
    edits = Continue(Edits(members=[SetMember(("id",), "b")], set_headers={"x": "1"}))
    answer = await last(await asked(Link("watch", reads(on_response=edits), shadow=True)), answer_head(), whole(ANSWER))
    assert delivered(answer) == Deliver(whole(ANSWER).data, end=True, headers=Edits(), same=True)


async def test_an_edit_without_a_place_in_the_answer_refuses() -> None:
    edits = Continue(Edits(members=[SetMember(("choices", 0, "text"), "b")]))
    answer = await last(await asked(reads(on_response=edits)), answer_head(), whole(ANSWER))
    assert isinstance(answer, Refuse)


LAX = {
    "half a surrogate pair": (b'{"a": "\\ud800", "id": "a"}', b'{"a":"\\ud800","id":"b"}'),
    "NaN": (b'{"a": NaN, "id": "a"}', b'{"a":NaN,"id":"b"}'),
    "a BOM": (b'\xef\xbb\xbf{"id": "a"}', b'{"id":"b"}'),
    "no UTF-8 in a name": (b'{"caf\xe9": 1, "id": "a"}', b'{"caf\\ufffd":1,"id":"b"}'),
}


@pytest.mark.parametrize("case", LAX)
async def test_an_answer_that_only_callers_read_is_written_anew_with_its_edits(case: str) -> None:
    given, expected = LAX[case]
    edits = Continue(Edits(members=[SetMember(("id",), "b")]))
    answer = await last(await asked(reads(on_response=edits)), answer_head(), whole(given))
    assert delivered(answer).data == expected


async def test_an_answer_beyond_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_half, "MAX_ANSWER", 10)
    answers = await told(await asked(reads()), answer_head(), whole(b"1234567890", end=False), whole(b"1"))
    assert answers[1] == Hold()
    assert isinstance(answers[2], Refuse)
    assert answers[2].reason == "response.too_large"
