"""That usage is reported for every answer, at the least cost, and that what the client did not ask for is kept from it."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.events import Answer, Deliver, Proceed, ResponseBody
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.sse import SseParser
from headrace.ext_proc.core.terms import read
from tests.filters.compiled import compiled, exchange_with
from tests.kit import STREAM, answer_head, body, chunk, decision_in, delta, last, post, told

USAGE = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
LAST = {"choices": [], "usage": USAGE}


def exchange(directory: Path, settings: str = "", capabilities: Capability = Capability.ACCESS_LOG) -> Exchange:
    policy = f"""
        version: 1
        models: [{{name: m, price: {{input: 2, output: 4}}}}]
        filters: [{{usage: {{{settings}}}}}]
    """
    return exchange_with(compiled(directory, policy), capabilities)


def chat(**members: Any) -> Mapping[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | members


def sent(answer: Answer) -> Any:
    """The request body that goes on, or None where it is left alone."""
    assert isinstance(answer, Proceed)
    return None if answer.body is None else json.loads(answer.body)


def documents(answers: Sequence[Answer]) -> list[Any]:
    raw = b"".join(answer.data for answer in answers if isinstance(answer, Deliver))
    return [event.json for event in SseParser().feed(raw)]


async def test_a_stream_is_made_to_report_its_usage(tmp_path: Path) -> None:
    answer = await last(exchange(tmp_path), post(), body(chat(stream=True)))
    assert sent(answer)["stream_options"] == {"include_usage": True}
    assert isinstance(answer, Proceed)
    assert answer.last
    assert answer.metadata["settle"] == "access_log"


@pytest.mark.parametrize("asked", [chat(), chat(stream=True, stream_options={"include_usage": True})])
async def test_a_request_that_gets_its_usage_anyway_is_left_alone(tmp_path: Path, asked: Mapping[str, Any]) -> None:
    assert sent(await last(exchange(tmp_path), post(), body(asked))) is None


async def test_other_stream_options_are_kept(tmp_path: Path) -> None:
    asked = chat(stream=True, stream_options={"include_usage": False, "other": 1.50})
    answer = await last(exchange(tmp_path, "continuous: true"), post(), body(asked))
    options = {"include_usage": True, "other": 1.5, "continuous_usage_stats": True}
    assert sent(answer)["stream_options"] == options


async def test_as_asked_leaves_a_stream_alone(tmp_path: Path) -> None:
    assert sent(await last(exchange(tmp_path, "include_usage: as_asked"), post(), body(chat(stream=True)))) is None


@pytest.mark.parametrize(
    ("path", "more"), [("/v1/responses", {"messages": None, "input": "hi"}), ("/v1/messages", {"max_tokens": 5})]
)
async def test_apis_that_always_report_are_left_alone(tmp_path: Path, path: str, more: Any) -> None:
    asked = chat(stream=True, **more)
    assert sent(await last(exchange(tmp_path), post(path), body(asked))) is None


async def test_the_settlement_is_told_model_and_price(tmp_path: Path) -> None:
    answer = await last(exchange(tmp_path), post(), body(chat()))
    assert isinstance(answer, Proceed)
    terms = read(answer.metadata["lease"])
    assert terms is not None and terms.price is not None
    assert (terms.model, terms.endpoint, terms.stream, terms.reserved) == ("m", Endpoint.CHAT, False, None)
    assert (terms.price.input, terms.price.output) == ("2", "4")
    assert answer.metadata["model"] == "m"


async def test_without_an_access_log_the_answer_is_read_here(tmp_path: Path) -> None:
    it = exchange(tmp_path, capabilities=Capability.NOTHING)
    whole = ResponseBody(json.dumps({"choices": [], "usage": USAGE}).encode(), end=True)
    await told(it, post(), body(chat()), answer_head(), whole)
    assert decision_in(it.close())["usage"]["output_tokens"] == 2


COMPACTS = {"context_management": {"edits": [{"type": "compact_20260112"}]}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("members", "is_read"), [(COMPACTS, True), ({}, False)])
async def test_an_answer_whose_sums_may_leave_tokens_out_is_read_here(
    tmp_path: Path, members: Mapping[str, Any], is_read: bool, stream: bool
) -> None:
    answer = await last(exchange(tmp_path), post("/v1/messages"), body(chat(stream=stream, max_tokens=9, **members)))
    assert isinstance(answer, Proceed)
    assert answer.last is not is_read


async def test_a_usage_event_that_was_not_asked_for_is_taken_out_where_the_stream_is_read(tmp_path: Path) -> None:
    it = exchange(tmp_path, "usage_chunk: remove")
    answers = await told(it, post(), body(chat(stream=True)), STREAM, chunk(delta("a")), chunk(LAST), chunk("[DONE]", end=True))
    assert documents(answers) == [delta("a"), None]
    assert decision_in(it.close())["usage"]["input_tokens"] == 9


async def test_usage_within_an_event_is_taken_out_and_the_event_kept(tmp_path: Path) -> None:
    it = exchange(tmp_path, "on_hang_up: count, continuous: true")
    asked = await told(it, post(), body(chat(stream=True)), STREAM, chunk({**delta("a"), "usage": USAGE}))
    assert documents(asked) == [delta("a")]


async def test_a_client_that_asked_gets_its_usage(tmp_path: Path) -> None:
    it = exchange(tmp_path, "on_hang_up: count")
    asked = chat(stream=True, stream_options={"include_usage": True})
    answers = await told(it, post(), body(asked), STREAM, chunk(LAST))
    assert documents(answers) == [LAST]


async def test_a_client_that_hangs_up_leaves_the_words_it_was_sent(tmp_path: Path) -> None:
    it = exchange(tmp_path, "on_hang_up: count")
    await told(it, post(), body(chat(stream=True)), STREAM, chunk(delta("ab")), chunk(delta("cd")))
    assert decision_in(it.close(Cause.ABORTED))["outcome"] == "aborted"
    assert it._meter.text == "abcd"
