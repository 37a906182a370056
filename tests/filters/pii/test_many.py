"""Thousands of findings in one request or answer: what is made of them holds up no other request."""

import asyncio
import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.request import Response
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import Continue
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.filters.pii.actions import Substitutes
from headrace.filters.pii.allowance import Allowance, SearchLate, unlimited
from headrace.filters.pii.answer import Answer, Scrubbing
from headrace.filters.pii.detector import PatternDetector
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.placeholders import Placeholders
from headrace.filters.pii.scan import INLINE_FINDINGS, Searcher
from headrace.filters.pii.spans import Span
from headrace.filters.pii.treatment import Treatment
from tests.filters.compiled import Inline

from .driver import Talk, delta, joined, policy, user
from .streaming import FINISH, called, in_pieces

TOKEN = re.compile(r"<EMAIL_ADDRESS_[a-z2-7]{8}>")


def _addresses(number: int) -> list[str]:
    return [f"person{each}@example.com" for each in range(number)]


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> set[bool]:
    """Whether the event loop's thread put in what stands for findings."""
    seen: set[bool] = set()
    usual = Substitutes.__call__

    def substitute(self: Substitutes, span: Span, value: str) -> str:
        seen.add(threading.current_thread() is threading.main_thread())
        return usual(self, span, value)

    async def away(_: Inline, fn: Callable[..., object], *args: object) -> object:
        return await asyncio.to_thread(fn, *args)

    monkeypatch.setattr(Substitutes, "__call__", substitute)
    monkeypatch.setattr(Inline, "run", away)
    return seen


@pytest.mark.parametrize(("number", "on_the_loop"), [(INLINE_FINDINGS, True), (INLINE_FINDINGS + 1, False), (2_000, False)])
def test_many_are_replaced_in_a_thread(tmp_path: Path, threads: set[bool], number: int, on_the_loop: bool) -> None:
    addresses = _addresses(number)
    talk = Talk(policy(tmp_path))
    sent = talk.sent(user(", ".join(addresses)))["messages"][0]["content"]
    assert threads == {on_the_loop}
    tokens = TOKEN.findall(sent)
    assert len(set(tokens)) == number and sent == ", ".join(tokens)
    told = talk.whole(_answer(f"{tokens[-1]} and {tokens[0].lower()}"))["choices"][0]["message"]["content"]
    assert told == f"{addresses[-1]} and {addresses[0]}"


def test_so_is_refused_what_may_not_leave(tmp_path: Path) -> None:
    refused = Talk(policy(tmp_path, "request: block")).refused(user(", ".join(_addresses(INLINE_FINDINGS + 1))))
    assert refused.status == 400 and b"EMAIL_ADDRESS" in refused.body


# --- answers ---------------------------------------------------------------------------------------------------------------------


def _answer(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}


def _response(text: str) -> Response:
    document = _answer(text)
    response = Response(200, Headers([]), is_stream=False)
    response.body, response.document = json.dumps(document).encode(), document
    return response


@pytest.fixture
def offload() -> Iterator[ThreadOffload]:
    made = ThreadOffload()
    yield made
    made.close()


@pytest.mark.parametrize(("number", "away"), [(2, False), (2_000, True)])
async def test_a_long_answer_is_searched_in_a_thread_that_lets_others_in(
    monkeypatch: pytest.MonkeyPatch, offload: ThreadOffload, number: int, away: bool
) -> None:
    stepped: set[bool] = set()
    usual = Allowance.step

    def step(self: Allowance) -> None:
        stepped.add(self.courteous)
        usual(self)

    monkeypatch.setattr(Allowance, "step", step)
    verdict = await Answer({}, _scrubbing()).whole(_response(", ".join(_addresses(number))), offload)
    assert isinstance(verdict, Continue) and verdict.note == {"findings": {"EMAIL_ADDRESS": number}}
    assert stepped == {away}


async def test_its_search_ends_with_its_time(offload: ThreadOffload) -> None:
    late = Answer({}, _scrubbing(lambda: Allowance(until=monotonic())))
    with pytest.raises(SearchLate):
        await late.whole(_response(", ".join(_addresses(2_000))), offload)


async def test_its_search_ends_when_nobody_waits_for_it_any_longer(monkeypatch: pytest.MonkeyPatch, offload: ThreadOffload) -> None:
    begun, gate, ended = threading.Event(), threading.Event(), threading.Event()
    usual = Allowance.step

    def step(self: Allowance) -> None:
        begun.set()
        gate.wait(30)
        try:
            usual(self)
        except SearchLate:
            ended.set()
            raise

    monkeypatch.setattr(Allowance, "step", step)
    search = asyncio.create_task(Answer({}, _scrubbing()).whole(_response(", ".join(_addresses(2_000))), offload))
    assert await asyncio.to_thread(begun.wait, 30)
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    gate.set()
    assert await asyncio.to_thread(ended.wait, 30)


def _scrubbing(within: Callable[[], Allowance] = unlimited) -> Scrubbing:
    treatment = Treatment("redact", "off")
    searcher = Searcher(MemoDetector(PatternDetector({"EMAIL_ADDRESS": 0.4})), treatment)
    return Scrubbing(searcher, Substitutes(treatment, Placeholders(b"k" * 32), b"k" * 32), within=within)


# --- streams ---------------------------------------------------------------------------------------------------------------------


def _redacting(directory: Path) -> Talk:
    talk = Talk(policy(directory, "request: off, response: redact"))
    talk.ask(user("hi"))
    return talk


@pytest.mark.parametrize(("number", "on_the_loop"), [(20, True), (2_000, False)])
def test_long_arguments_of_a_tool_are_searched_in_a_thread(
    tmp_path: Path, threads: set[bool], number: int, on_the_loop: bool
) -> None:
    addresses = _addresses(number)
    written = json.dumps({"text": ", ".join(addresses), "number": 7})
    told = _redacting(tmp_path).events([*map(called, in_pieces(written, 97)), *FINISH])
    calls = [choice["delta"].get("tool_calls", []) for each in told if isinstance(each, dict) for choice in each["choices"]]
    arguments = "".join(call["function"]["arguments"] for made in calls for call in made)
    assert json.loads(arguments) == {"text": ", ".join(["<EMAIL_ADDRESS>"] * number), "number": 7}
    assert threads == {on_the_loop}


def test_so_they_are_when_the_stream_ends_without_saying_so(tmp_path: Path, threads: set[bool]) -> None:
    written = json.dumps({"text": ", ".join(_addresses(2_000))})
    told = json.dumps(_redacting(tmp_path).events([called(piece) for piece in in_pieces(written, 97)]))
    assert told.count("<EMAIL_ADDRESS>") == 2_000 and "@example.com" not in told
    assert threads == {False}


@pytest.mark.parametrize(("number", "on_the_loop"), [(20, True), (2_000, False)])
def test_an_event_that_repeats_a_long_answer_is_searched_in_a_thread(
    tmp_path: Path, threads: set[bool], number: int, on_the_loop: bool
) -> None:
    item = {"type": "message", "content": [{"type": "output_text", "text": ", ".join(_addresses(number))}]}
    talk = Talk(policy(tmp_path, "request: off, response: redact"), "/v1/responses")
    talk.ask({"model": "m", "input": "hi"})
    told = json.dumps(talk.events([{"type": "response.completed", "response": {"id": "r", "output": [item]}}]))
    assert told.count("<EMAIL_ADDRESS>") == number and "@example.com" not in told
    assert threads == {on_the_loop}


def test_short_events_behind_a_long_one_are_searched_where_they_come(tmp_path: Path, threads: set[bool]) -> None:
    written = json.dumps({"text": ", ".join(_addresses(2_000))})
    talk = _redacting(tmp_path)
    long = [*map(called, in_pieces(written, 97)), delta(finish="tool_calls")]
    told = talk.events([*long, delta(content="write to late@example.org. "), *FINISH])
    assert joined(told) == "write to <EMAIL_ADDRESS>. "
    assert threads == {False, True}


async def test_a_search_of_a_stream_ends_with_its_time(offload: ThreadOffload) -> None:
    answer = Answer({}, _scrubbing(lambda: Allowance(until=monotonic())))

    def through() -> None:
        for each in _events(2_000):
            answer.on_event(each, Endpoint.CHAT)

    with pytest.raises(SearchLate):
        await answer.away(through, offload)


def _events(number: int) -> list[SseEvent]:
    pieces = in_pieces(json.dumps({"text": ", ".join(_addresses(number))}), 97)
    return [SseEvent.of(json.dumps(each)) for each in (*map(called, pieces), FINISH[0])]
