"""Requests that take longer to search than their policy allows: what their callers are told, and what is kept of the work."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, cast

import pytest

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.verdict import Continue, Reply, Verdict
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.filters.pii import PiiFilter, allowance
from headrace.filters.pii.allowance import Allowance, ModelsLate, SearchLate
from headrace.filters.pii.detector import PatternDetector
from headrace.filters.pii.lateness import allowance_of, answers_allowance_of, waiting_room
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.models.batches import cut, sizes
from headrace.filters.pii.models.desk import Desk, NoneFree
from headrace.filters.pii.models.names import default_models, model_of
from headrace.filters.pii.models.pool import ModelPool
from headrace.filters.pii.naming import NamingDetector
from headrace.filters.pii.paths import RULES
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.session import Equipment, PiiSession
from headrace.filters.pii.settings import PiiSettings
from headrace.filters.pii.spans import DetectionTimeout, Span
from headrace.filters.pii.treatment import Treatment

from .driver import policy, user

LINES = [f"{word * 30} Jane wrote to {word}@example.com" for word in ("a", "b", "c")]
PATTERNS = PatternDetector({"EMAIL_ADDRESS": 0.4})
NAME = "please ask Jane Doe, who lives in Springfield, about it"
PAST = 0.0
"""In seconds of `time.monotonic`, which counts from the machine's start."""


@dataclass
class SlowPool:
    """Knows a Jane when it sees one. patience: segments until its time is over."""

    patience: int
    read: list[str] = field(default_factory=list)

    def batches(self, texts: Sequence[str], until: float) -> Iterator[tuple[Sequence[int], Sequence[tuple[Span, ...]]]]:
        for index, text in enumerate(texts):
            if self.patience == 0:
                raise ModelsLate
            self.patience -= 1
            self.read.append(text)
            at = text.find("Jane")
            yield [index], [(Span(at, at + 4, "PERSON", 0.9),) if at >= 0 else ()]


def detector_with(pool: SlowPool) -> MemoDetector:
    return MemoDetector(NamingDetector(PATTERNS, cast(ModelPool, pool), {"PERSON": 0.4}))


async def asked(detector: MemoDetector, *contents: str, **settings: Any) -> Verdict:
    """The verdict on a chat of these messages. Raises what the filter's guard catches."""
    offload = ThreadOffload()
    treatment = Treatment("redact", "off")
    searcher = Searcher(detector, treatment)
    equipment = Equipment(PiiSettings.model_validate(settings), searcher, searcher, offload, b"k" * 32)
    request = Request("e1", Headers([(":path", "/v1/chat/completions")]), Endpoint.CHAT)
    request.document = {**user(""), "messages": [{"role": "user", "content": content} for content in contents]}
    try:
        return await PiiSession(equipment, Endpoint.CHAT, watches_answer=False).on_request(request)
    finally:
        offload.close()


def texts_of(verdict: Verdict) -> list[Any]:
    assert isinstance(verdict, Continue)
    return [edit.value for edit in verdict.edits.members]


# --- models ----------------------------------------------------------------------------------------------------------------------


async def test_what_a_model_cannot_read_in_time_is_refused_and_read_on_at_the_next_try() -> None:
    pool = SlowPool(patience=2)
    detector = detector_with(pool)
    verdict = await asked(detector, *LINES)
    assert isinstance(verdict, Reply)
    assert (verdict.status, verdict.reason, verdict.retry_after) == (503, "pii.model_timeout", 1)
    assert "Jane" not in verdict.message and "send less new text at once" in verdict.message
    pool.patience = 1
    assert all("<PERSON> wrote to <EMAIL_ADDRESS>" in text for text in texts_of(await asked(detector, *LINES)))
    assert pool.read == LINES, "nothing was read twice"


async def test_the_policy_may_have_the_rest_searched_by_patterns_alone_and_is_told_how_much() -> None:
    detector = detector_with(SlowPool(patience=1))
    verdict = await asked(detector, *LINES[:2], on_model_timeout="patterns")
    first, second = texts_of(verdict)
    assert "<PERSON> wrote to <EMAIL_ADDRESS>" in first
    assert "Jane wrote to <EMAIL_ADDRESS>" in second
    assert isinstance(verdict, Continue) and verdict.note["unnamed"] == len(LINES[1])


async def test_what_was_searched_by_patterns_alone_is_not_remembered_as_searched() -> None:
    pool = SlowPool(patience=0)
    detector = detector_with(pool)
    await asked(detector, LINES[0], on_model_timeout="patterns")
    pool.patience = 1
    assert "<PERSON> wrote to <EMAIL_ADDRESS>" in texts_of(await asked(detector, LINES[0]))[0]


async def test_a_model_that_is_late_is_a_failure_where_the_policy_fails_open() -> None:
    with pytest.raises(ModelsLate):
        await asked(detector_with(SlowPool(patience=0)), LINES[0], on_error="open")


def test_a_pool_begins_nothing_after_its_time() -> None:
    made = ModelPool([])
    with pytest.raises(ModelsLate):
        next(made.batches(["x"], PAST))
    assert list(made.batches([], PAST)) == []


def test_neighbours_by_length_are_asked_for_together_in_batches_of_one_size() -> None:
    assert cut([220, 160, 220, 220, 220, 2800, 160, 16]) == [[7, 1, 6, 0, 2], [3, 4], [5]]
    assert [len(batch) for batch in cut([110] * 13)] == [4, 5, 4]
    assert cut([0, 0]) == [[0, 1]]
    assert cut([]) == []
    assert sizes(["abc", "é", "\ud800", ""]) == [3, 2, 3, 0]


def test_who_waited_for_a_model_has_let_others_in(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [monotonic()]
    stops: list[float] = []
    monkeypatch.setattr(allowance, "monotonic", lambda: now[0])
    monkeypatch.setattr(allowance, "sleep", stops.append)

    class Waiting(SlowPool):
        def batches(self, texts: Sequence[str], until: float) -> Iterator[tuple[Sequence[int], Sequence[tuple[Span, ...]]]]:
            now[0] += 1.0
            yield from super().batches(texts, until)

    allowed = Allowance()
    detector_with(Waiting(patience=9)).detect(LINES[0], allowed)
    assert stops == []
    now[0] += 1.0
    allowed.step()
    assert stops == [allowance.PAUSE_S]


# --- patterns --------------------------------------------------------------------------------------------------------------------


def test_a_text_is_given_up_when_its_time_is_over_however_short_it_is() -> None:
    line = "write to jane@example.com now. "
    assert PATTERNS.detect(line, Allowance(until=monotonic() + 60))
    with pytest.raises(SearchLate):
        PATTERNS.detect(line, Allowance(until=PAST))


class Counting(PatternDetector):
    """asked: texts that it was to search. at: where to stop for `gate`, having told so."""

    def __init__(self) -> None:
        super().__init__({"EMAIL_ADDRESS": 0.4})
        self.asked = 0
        self.begun, self.gate = threading.Event(), threading.Event()

    def detect(self, text: str, allowance: Allowance | None = None, about: str = "") -> tuple[Span, ...]:
        self.asked += 1
        self.begun.set()
        assert self.gate.wait(30)
        return super().detect(text, allowance, about)


PARTS = [f"part {index} of the text is written to {index}@example.com" for index in range(400)]


async def test_many_short_texts_are_given_up_together_when_their_time_is_over() -> None:
    detector = Counting()
    detector.gate.set()
    verdict = await asked(MemoDetector(detector), *PARTS, timeout_ms=1)
    assert isinstance(verdict, Reply) and verdict.reason == "pii.too_long"
    assert detector.asked < len(PARTS)


async def test_a_search_ends_when_its_caller_does_not_wait_any_longer() -> None:
    detector, offload = Counting(), ThreadOffload(threads=1)
    searcher = Searcher(MemoDetector(detector), Treatment("redact", "off"))
    document = {**user(""), "messages": [{"role": "user", "content": part} for part in PARTS]}
    scan = asyncio.create_task(searcher.scan(document, RULES[Endpoint.CHAT], offload))
    assert await asyncio.to_thread(detector.begun.wait, 30)
    scan.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scan
    detector.gate.set()
    offload.close()
    assert detector.asked == 1


async def test_a_text_that_patterns_take_too_long_for_is_refused_as_too_long() -> None:
    class Late(PatternDetector):
        def detect(self, text: str, allowance: Allowance | None = None, about: str = "") -> tuple[Span, ...]:
            raise SearchLate

    verdict = await asked(MemoDetector(Late({"EMAIL_ADDRESS": 0.4})), "hi", timeout_ms=2500)
    assert isinstance(verdict, Reply)
    assert (verdict.status, verdict.reason, verdict.retry_after) == (413, "pii.too_long", None)
    assert "2.5 seconds" in verdict.message and "smaller parts" in verdict.message


async def test_any_other_failure_is_the_guards() -> None:
    class Broken(PatternDetector):
        def detect(self, text: str, allowance: Allowance | None = None, about: str = "") -> tuple[Span, ...]:
            raise DetectionTimeout

    with pytest.raises(DetectionTimeout):
        await asked(MemoDetector(Broken({"EMAIL_ADDRESS": 0.4})), "hi")


# --- times -----------------------------------------------------------------------------------------------------------------------


def test_a_search_ends_before_the_filters_time_is_over_and_models_before_that() -> None:
    found = allowance_of(PiiSettings.model_validate({"timeout_ms": 3000}))
    assert found.until - found.models_until == pytest.approx(0.7)
    assert not found.lenient
    named = allowance_of(PiiSettings.model_validate({"timeout_ms": 3000, "model_timeout_ms": 700, "on_model_timeout": "patterns"}))
    assert named.until - named.models_until == pytest.approx(2.0)
    assert named.lenient


def test_a_time_for_models_that_leaves_none_for_patterns_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(PolicyErrors) as caught:
        policy(tmp_path, "timeout_ms: 900, model_timeout_ms: 601")
    assert str(caught.value).endswith(
        "model_timeout_ms: must be at most 600, two thirds of timeout_ms, because patterns run after models, not 601"
    )


@pytest.mark.skipif(not default_models(), reason="needs the extra ner")
@pytest.mark.parametrize(
    ("settings", "where", "told"),
    [
        (
            "timeout_ms: 300",
            "timeout_ms",
            "more than some 16 KB of new text is refused with 503: rampart takes 25 ms of a core for a KB",
        ),
        (
            "timeout_ms: 600, model_processes: 1",
            "timeout_ms",
            "for 32 KB give models 800 ms (timeout_ms: 1200), or set model: none",
        ),
        (
            "model_timeout_ms: 100, on_model_timeout: patterns",
            "model_timeout_ms",
            "more than some 8 KB of new text is searched without",
        ),
    ],
)
def test_a_time_in_which_models_read_little_is_remarked_on_with_what_they_cost(
    settings: str, where: str, told: str, tmp_path: Path
) -> None:
    (remark,) = policy(tmp_path, f"{settings}, model: rampart").remarks
    assert remark.where == f"filters[0].pii.{where}" and told in remark.message, remark


@pytest.mark.skipif(not default_models(), reason="needs the extra ner")
@pytest.mark.parametrize("settings", ["model: rampart", "model: rampart, timeout_ms: 600", "model: none, timeout_ms: 1"])
def test_a_time_in_which_a_document_is_read_is_not_remarked_on(settings: str, tmp_path: Path) -> None:
    assert policy(tmp_path, settings).remarks == []


@pytest.mark.skipif(not default_models(), reason="needs the extra ner")
def test_whoever_waits_for_a_model_waits_apart_from_other_heavy_work(tmp_path: Path) -> None:
    def offload_of(settings: str) -> object:
        (found,) = [each for each in policy(tmp_path, settings).filters if isinstance(each, PiiFilter)]
        return found._equipment.offload

    assert offload_of("model: rampart") is waiting_room()
    assert offload_of("model: none") is not waiting_room()


# --- in turn ---------------------------------------------------------------------------------------------------------------------


def test_workers_are_handed_out_in_the_order_in_which_they_were_asked_for() -> None:
    desk = Desk(1)
    held = desk.take(PAST, short=False)
    served: list[str] = []
    began = threading.Event()

    def first() -> None:
        began.set()
        worker = desk.take(monotonic() + 30, short=False)
        served.append("first")
        desk.put(worker)

    thread = threading.Thread(target=first)
    thread.start()
    assert began.wait(30)
    while not desk._long:
        thread.join(0.001)
    desk.put(held)
    assert not desk.spare(short=False) or served
    worker = desk.take(monotonic() + 30, short=False)
    served.append("second")
    desk.put(worker)
    thread.join(30)
    assert served == ["first", "second"]


def test_a_desk_without_an_idle_worker_gives_none() -> None:
    desk = Desk(1)
    desk.take(PAST, short=False)
    assert not desk.spare(short=False)
    with pytest.raises(NoneFree):
        desk.take(PAST, short=False)


def test_long_texts_leave_a_worker_to_short_ones() -> None:
    desk = Desk(3, background=2)
    held = [desk.take(PAST, short=False) for _ in range(2)]
    assert not desk.spare(short=False) and desk.spare(short=True)
    with pytest.raises(NoneFree):
        desk.take(PAST, short=False)
    held.append(desk.take(PAST, short=True))
    assert not desk.spare(short=True)
    desk.put(held.pop())
    assert not desk.spare(short=False), "it is kept for short texts again"
    desk.put(held.pop())
    assert desk.spare(short=False)


@pytest.mark.skipif(not default_models(), reason="needs the extra ner")
def test_a_short_text_is_read_while_long_ones_have_every_worker_they_may() -> None:
    made = ModelPool([model_of("rampart")], workers=2)
    try:
        made.load()
        held = made._desk.take(monotonic(), short=False)
        assert held.background
        with pytest.raises(ModelsLate):
            list(made.batches([NAME] * 200, monotonic() + 0.05))
        assert made.find([NAME])[0]
        made._desk.put(held)
        assert len(made.find([NAME] * 200)) == 200
    finally:
        made.close()


def test_an_answer_s_models_read_everything_or_its_search_fails() -> None:
    """What they had no time for would be in no record, whatever the policy says of requests."""
    settings = PiiSettings.model_validate({"timeout_ms": 3000, "model_timeout_ms": 10, "on_model_timeout": "patterns"})
    asked, answered = allowance_of(settings), answers_allowance_of(settings)
    assert asked.lenient and asked.models_until < asked.until <= answered.until < answered.models_until
    assert not answered.lenient
