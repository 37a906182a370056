"""A gateway that streams bodies both ways: every byte is sent back, whoever reads or changes it, and the stream is kept open."""

import json

import pytest

from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.verdict import Continue, Edits, SetMember
from headrace.ext_proc.envoy import duplex
from headrace.ext_proc.envoy.duplex import Duplex
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from tests.envoy.sent import (
    answer_body,
    answer_head,
    answer_tail,
    headers_set,
    kinds,
    request_body,
    request_head,
    request_tail,
    streamed,
)
from tests.kit import CHAT, DENIED, ScriptedFilter, exchange_of, filter_of

PATH = {":path": "/v1/chat/completions"}
PROMPT = json.dumps(CHAT).encode()
READS = Needs.REQUEST_BODY | Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM
DATA = b'data: {"choices": []}\n\n'


def gateway(*filters: ScriptedFilter) -> Duplex:
    return Duplex(exchange_of(*filters), 30)


async def past_the_request(*filters: ScriptedFilter) -> Duplex:
    talk = gateway(*filters)
    await talk.receive(request_head(PATH))
    await talk.receive(request_body(PROMPT))
    return talk


async def test_the_head_waits_for_the_verdict_on_the_body_and_carries_it() -> None:
    """The route is chosen by the head: what is said with the body comes too late for it."""
    edits = Edits(set_headers={"x-route": "large"}, members=[SetMember(("model",), "other")], reroute=True)
    talk = gateway(filter_of(needs=Needs.REQUEST_BODY, on_request=Continue(edits, metadata={"route": "large"})))
    assert await talk.receive(request_head(PATH)) == []
    assert await talk.receive(request_body(PROMPT[:5], end=False)) == []
    answers = await talk.receive(request_body(PROMPT[5:]))
    assert kinds(answers) == ["request_headers", "request_body"]
    common = answers[0].request_headers.response
    assert (headers_set(common.header_mutation)["x-route"], common.clear_route_cache) == ("large", True)
    assert not common.HasField("body_mutation")
    data, ended = streamed(answers, "request_body")
    assert (json.loads(data), ended) == (CHAT | {"model": "other"}, True)
    assert "headrace" in answers[0].dynamic_metadata.fields


@pytest.mark.parametrize(
    ("first", "then", "left"),
    [
        (Edits(set_headers={"x-a": "1"}), Edits(remove_headers=("x-a",)), {}),
        (Edits(set_headers={"x-a": "1"}), Edits(set_headers={"x-a": "2"}), {"x-a": ["2"]}),
        (Edits(remove_headers=("x-a",)), Edits(set_headers={"x-a": "2"}), {"x-a": ["2"]}),
        (Edits(set_headers={"x-a": "1"}), Edits(set_headers={"x-b": "2"}), {"x-a": ["1"], "x-b": ["2"]}),
    ],
)
async def test_of_the_edits_of_headers_and_body_the_later_wins(first: Edits, then: Edits, left: dict[str, list[str]]) -> None:
    talk = gateway(filter_of(needs=Needs.REQUEST_BODY, on_headers=Continue(first), on_request=Continue(then)))
    await talk.receive(request_head(PATH))
    [head, _] = await talk.receive(request_body(PROMPT))
    mutation = head.request_headers.response.header_mutation
    assert left_by(mutation) == left
    assert ("x-a" in mutation.remove_headers) == ("x-a" in {*first.remove_headers, *then.remove_headers})


def left_by(mutation: pb.HeaderMutation) -> dict[str, list[str]]:
    """What Envoy sets of the tests' headers, after the removals."""
    found: dict[str, list[str]] = {}
    for option in mutation.set_headers:
        if option.header.key.startswith("x-"):
            found.setdefault(option.header.key, []).append(option.header.raw_value.decode())
    return found


async def test_a_verdict_on_a_whole_answer_sets_and_removes_headers() -> None:
    edits = Edits(set_headers={"x-checked": "yes"}, remove_headers=("x-secret",))
    talk = await past_the_request(filter_of(needs=Needs.REQUEST_BODY | Needs.RESPONSE_BODY, on_response=Continue(edits)))
    assert await talk.receive(answer_head(content_type="application/json")) == []
    [head, *_] = await talk.receive(answer_body(json.dumps({"choices": []}).encode(), end=True))
    mutation = head.response_headers.response.header_mutation
    assert {"x-secret", "content-length"} <= set(mutation.remove_headers)
    assert headers_set(mutation)["x-checked"] == "yes"


async def test_a_body_that_nobody_changes_comes_back_byte_for_byte_in_pieces_envoy_takes() -> None:
    talk = gateway(filter_of(needs=Needs.REQUEST_BODY))
    await talk.receive(request_head(PATH))
    raw = json.dumps({**CHAT, "user": "x" * 200_000}).encode()
    answers = await talk.receive(request_body(raw))
    assert streamed(answers, "request_body") == (raw, True)
    pieces = [len(one.request_body.response.body_mutation.streamed_response.body) for one in answers[1:]]
    assert max(pieces) <= 62_000


async def test_a_body_that_nobody_reads_is_not_held() -> None:
    talk = gateway(filter_of())
    assert kinds(await talk.receive(request_head(PATH))) == ["request_headers"]
    assert streamed(await talk.receive(request_body(b"abc", end=False)), "request_body") == (b"abc", False)
    assert streamed(await talk.receive(request_body(b"", end=True)), "request_body") == (b"", True)


async def test_a_request_without_a_body_is_answered_at_once() -> None:
    assert kinds(await gateway(filter_of()).receive(request_head(PATH, end=True))) == ["request_headers"]


async def test_trailers_of_a_request_end_its_body_and_follow_it() -> None:
    talk = gateway(filter_of(needs=Needs.REQUEST_BODY))
    await talk.receive(request_head(PATH))
    await talk.receive(request_body(PROMPT, end=False))
    answers = await talk.receive(request_tail())
    assert kinds(answers) == ["request_headers", "request_body", "request_trailers"]
    assert streamed(answers, "request_body") == (PROMPT, False)


@pytest.mark.parametrize("hook", ["on_headers", "on_request"])
@pytest.mark.parametrize("trailers", [False, True])
async def test_a_refusal_is_the_last_word(hook: str, trailers: bool) -> None:
    talk = gateway(filter_of(needs=Needs.REQUEST_BODY, **{hook: DENIED}))
    answers = await talk.receive(request_head(PATH))
    if hook == "on_request":
        answers = await talk.receive(request_body(PROMPT, end=not trailers)) or await talk.receive(request_tail())
    assert kinds(answers) == ["immediate_response"]
    assert answers[0].immediate_response.status.code == 403
    assert talk.refused


async def test_a_prompt_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplex, "MAX_BODY", 10)
    talk = gateway(filter_of(needs=Needs.REQUEST_BODY))
    await talk.receive(request_head(PATH))
    assert await talk.receive(request_body(b"1234567890", end=False)) == []
    (answer,) = await talk.receive(request_body(b"1", end=False))
    assert answer.immediate_response.status.code == 413
    assert json.loads(answer.immediate_response.body)["error"]["code"] == "body.too_large"
    assert talk.refused


async def test_an_answer_that_nobody_reads_passes_as_it_comes() -> None:
    talk = await past_the_request(filter_of(needs=Needs.REQUEST_BODY))
    assert kinds(await talk.receive(answer_head())) == ["response_headers"]
    assert streamed(await talk.receive(answer_body(b"abc"))) == (b"abc", False)
    assert not talk.over
    assert streamed(await talk.receive(answer_body(b"d", end=True))) == (b"d", True)
    assert talk.over


async def test_an_answer_that_is_read_whole_is_held_with_its_head_whose_length_may_change() -> None:
    edits = Edits(members=[SetMember(("a",), 2)])
    talk = await past_the_request(filter_of(needs=READS, on_response=Continue(edits)))
    assert await talk.receive(answer_head(content_type="application/json")) == []
    assert await talk.receive(answer_body(b'{"a"')) == []
    answers = await talk.receive(answer_body(b": 1}", end=True))
    assert kinds(answers) == ["response_headers", "response_body"]
    assert "content-length" in answers[0].response_headers.response.header_mutation.remove_headers
    assert json.loads(streamed(answers)[0]) == {"a": 2}
    assert streamed(answers)[1]


async def test_an_answer_that_is_refused_is_replaced_before_any_of_it_is_out() -> None:
    talk = await past_the_request(filter_of(needs=READS, on_response=DENIED))
    await talk.receive(answer_head(content_type="application/json"))
    answers = await talk.receive(answer_body(b"{}", end=True))
    assert kinds(answers) == ["immediate_response"]
    assert talk.refused


async def test_a_stream_that_is_read_passes_event_by_event() -> None:
    talk = await past_the_request(filter_of(needs=READS))
    assert kinds(await talk.receive(answer_head())) == ["response_headers"]
    assert await talk.receive(answer_body(DATA[:7])) == []
    assert streamed(await talk.receive(answer_body(DATA[7:]))) == (DATA, False)
    assert streamed(await talk.receive(answer_body(b"data: [DONE]\n\n", end=True)))[1]


@pytest.mark.parametrize("needs", [Needs.REQUEST_BODY, READS])
async def test_trailers_of_an_answer_follow_it(needs: Needs) -> None:
    talk = await past_the_request(filter_of(needs=needs))
    await talk.receive(answer_head())
    found = list(await talk.receive(answer_body(DATA)))
    found += await talk.receive(answer_tail())
    assert kinds(found)[-1] == "response_trailers"
    assert streamed(found)[0] == DATA
    assert talk.over


async def test_a_reply_of_the_gateways_own_passes() -> None:
    """To a request that had not been sent on: a path it refuses, a client gone."""
    talk = gateway(filter_of(needs=Needs.REQUEST_BODY))
    await talk.receive(request_head(PATH))
    own = answer_head("503", "text/plain")
    own.attributes["envoy.filters.http.ext_proc"].fields["response.code_details"].string_value = "no_healthy_upstream"
    assert kinds(await talk.receive(own)) == ["response_headers"]
    assert streamed(await talk.receive(answer_body(b"no", end=True))) == (b"no", True)


async def test_a_message_without_content_is_an_error() -> None:
    with pytest.raises(ProtocolError, match="does not ask for"):
        await gateway(filter_of()).receive(pb.ProcessingRequest())
