"""Long texts searched in a process of their own: the same findings, and no search lost with the process."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import monotonic, sleep

import pytest

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.filters.pii.allowance import Allowance, ModelsLate, SearchLate, unlimited
from headrace.filters.pii.detector import LONG, PatternDetector
from headrace.filters.pii.long_texts import process as processes
from headrace.filters.pii.long_texts.lines import PLANS, Question, decoded, encoded, packed, unpacked
from headrace.filters.pii.long_texts.patterns import PatternsOfLongTexts
from headrace.filters.pii.long_texts.process import Begun, NotThere, SearchProcess
from headrace.filters.pii.long_texts.worker import Gone, Watched
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.models.names import default_models, model_of
from headrace.filters.pii.paths import RULES
from headrace.filters.pii.plan import Plan, detector_for, detector_of, patterns_of
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.settings import Recognizer
from headrace.filters.pii.spans import Named, Read, Span
from headrace.filters.pii.treatment import Treatment

from .texts import generate

ENTITIES = ("CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "URL", "US_SSN")
LAYERS = frozenset({"context", "code", "decode"})
PLAN = Plan(tuple((entity, 0.4) for entity in ENTITIES), layers=LAYERS)
START_S = 60.0


@pytest.fixture(scope="module")
def process() -> Iterator[SearchProcess]:
    """One that has made PLAN ready."""
    started = SearchProcess()
    ready(started)
    yield started
    started.end()


def ready(process: SearchProcess, plan: Plan = PLAN) -> None:
    until = monotonic() + START_S
    while PatternsOfLongTexts(plan, process).find([], unlimited()) is None:
        assert monotonic() < until
        sleep(0.02)


def generated(seed: int, count: int) -> Sequence[Named]:
    rng = random.Random(seed)
    return [(generate(rng.getrandbits(32)), rng.choice(("", "", "ssn", "employee account card"))) for _ in range(count)]


LINE = "write to jane.{0}@example.com or call +1 415-555-2671, card 4111 1111 1111 1111, and mind the {0} apples on the table.\n"


def dense(size: int, salt: int = 0) -> str:
    return "".join(LINE.format(salt + number) for number in range(size // len(LINE)))


def test_modules_in_the_current_directory_are_not_those_of_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "regex.py").write_text("raise SystemExit('of the current directory')")
    monkeypatch.chdir(tmp_path)
    started = SearchProcess()
    try:
        ready(started)
    finally:
        started.end()


# --- what is found ---------------------------------------------------------------------------------------------------------------


def test_whole_texts_have_the_findings_that_they_have_here(process: SearchProcess) -> None:
    here, texts = patterns_of(PLAN), generated(1, 1500)
    found = PatternsOfLongTexts(PLAN, process).find(texts, unlimited())
    assert found is not None
    assert [tuple(spans) for spans in found] == [here.detect(text, None, about) for text, about in texts]
    assert sum(map(len, found)) > 1000


def test_halves_of_surrogate_pairs_come_through() -> None:
    assert decoded(encoded("a\ud800b\udfff 👍🏽")) == "a\ud800b\udfff 👍🏽"


def test_a_plan_with_recognizers_of_its_own_comes_through(process: SearchProcess) -> None:
    pattern = {"regex": r"\bB-\d{4}\b", "score": 0.9}
    own = Recognizer.model_validate({"entity": "BADGE", "patterns": [pattern], "context": ["badge"]})
    plan = Plan((("BADGE", 0.4),), recognizers=(own,), allowed=frozenset({"b-1111"}), words=20)
    assert unpacked(packed(plan)) == plan
    ready(process, plan)
    found = PatternsOfLongTexts(plan, process).find([("badge B-1234, B-1111", "")], unlimited())
    assert found == [[Span(6, 12, "BADGE", 0.9)]]


@pytest.mark.skipif(not default_models(), reason="the ner extra is not installed")
def test_models_and_patterns_apart_find_what_they_find_together(process: SearchProcess) -> None:
    model = model_of("rampart")
    plan = Plan((*PLAN.thresholds, ("PERSON", 0.4)), (model,), frozenset({"PERSON"}), layers=LAYERS)
    ready(process, plan)
    there, here = detector_of(plan, PatternsOfLongTexts(plan, process)), detector_of(plan)
    texts = [(dense(LONG, 7) + "Ask Jane Doe about it.", "ssn"), *generated(3, 60)]
    found = [tuple(spans) for spans in there.detect_all(texts, unlimited())]
    assert found == [here.detect(text, None, about) for text, about in texts]
    assert "PERSON" in {span.entity for spans in found for span in spans}


@pytest.mark.skipif(not default_models(), reason="the ner extra is not installed")
def test_what_models_have_no_time_for_is_told_and_not_remembered(process: SearchProcess) -> None:
    plan = Plan((*PLAN.thresholds, ("PERSON", 0.4)), (model_of("rampart"),), frozenset({"PERSON"}), layers=LAYERS)
    ready(process, plan)
    memo = MemoDetector(detector_of(plan, PatternsOfLongTexts(plan, process)))
    text = (dense(2 * LONG, 123_000), "")
    with pytest.raises(ModelsLate):
        memo.detect_all([text], Allowance(models_until=0.0))
    lenient = Allowance(models_until=0.0, lenient=True)
    found = memo.detect_all([text], lenient)[text]
    assert tuple(found) == tuple(patterns_of(plan).detect(text[0]))
    assert lenient.unnamed >= len(text[0]) and memo.recall(*text) is None


# --- who asks --------------------------------------------------------------------------------------------------------------------


class Recording:
    """LongTexts that know nothing."""

    def __init__(self) -> None:
        self.asked: list[Sequence[Named]] = []

    def find(self, texts: Sequence[Named], allowance: Allowance, read: Read | None = None) -> None:
        self.asked.append(texts)


@pytest.mark.parametrize(("size", "asked"), [(LONG // 2, False), (2 * LONG, True)])
async def test_only_what_is_long_and_new_is_searched_there_all_together(size: int, asked: bool) -> None:
    recording = Recording()
    patterns = PatternDetector(dict(PLAN.thresholds), long_texts=recording)
    searcher = Searcher(MemoDetector(patterns), Treatment("redact", "off"))
    parts = [dense(size // 4, part * 1000) for part in range(4)]
    document = {"messages": [{"role": "user", "content": part} for part in [*parts, parts[0]]]}
    offload = ThreadOffload()
    first = await searcher.scan(document, RULES[Endpoint.CHAT], offload)
    again = await searcher.scan(document, RULES[Endpoint.CHAT], offload)
    offload.close()
    assert recording.asked == ([[(part, "") for part in parts]] if asked else [])
    assert first.counts == again.counts and first.counts["EMAIL_ADDRESS"] > 50


def test_a_policys_detector_asks_the_process_once_it_is_there() -> None:
    detector = detector_for(PLAN)
    text = dense(2 * LONG, 50_000)
    assert detector.detect_all([(text, "")], unlimited()) == {(text, ""): patterns_of(PLAN).detect(text)}


# --- what may go wrong -----------------------------------------------------------------------------------------------------------


def test_nobody_waits_for_a_process_to_begin() -> None:
    process = SearchProcess()
    began = monotonic()
    assert PatternsOfLongTexts(PLAN, process).find([("a", "")], unlimited()) is None
    assert monotonic() - began < 5
    process.end()


def test_a_search_ends_when_its_time_is_over_and_the_process_lives_on(process: SearchProcess) -> None:
    pid = process.pid
    with pytest.raises(SearchLate):
        PatternsOfLongTexts(PLAN, process).find([(dense(4_000_000), "")], Allowance(until=monotonic() + 0.2))
    assert PatternsOfLongTexts(PLAN, process).find([("a@example.com", "")], unlimited()) is not None
    assert process.pid == pid


def test_a_search_ends_when_nobody_waits_for_it(process: SearchProcess) -> None:
    allowance, ended = Allowance(), []

    def search() -> None:
        with pytest.raises(SearchLate):
            PatternsOfLongTexts(PLAN, process).find([(dense(4_000_000, 90_000), "")], allowance)
        ended.append(True)

    searching = threading.Thread(target=search)
    searching.start()
    sleep(0.2)
    allowance.end()
    searching.join(10)
    assert ended


def test_the_process_looks_whether_somebody_waits() -> None:
    ours, theirs = socket.socketpair()
    watched = Watched(monotonic() + 60, theirs)
    watched.step()
    ours.shutdown(socket.SHUT_WR)
    sleep(0.02)
    with pytest.raises(Gone):
        watched.step()
    ours.close()
    theirs.close()


def test_a_process_that_dies_is_no_loss_and_another_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "AGAIN_S", 0.0)
    process = SearchProcess()
    ready(process)
    pid = process.pid
    assert pid is not None
    there = patterns_of(PLAN, PatternsOfLongTexts(PLAN, process))
    text = dense(1_000_000)
    killing = threading.Timer(0.2, os.kill, (pid, signal.SIGKILL))
    killing.start()
    found = next(there.detect_all([(text, "")], unlimited()))
    assert found == patterns_of(PLAN).detect(text)
    ready(process)
    assert process.pid != pid
    process.end()


def test_one_that_dies_at_once_is_not_begun_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    process = SearchProcess()
    long_texts = PatternsOfLongTexts(PLAN, process)
    assert long_texts.find([], unlimited()) is None
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    sleep(0.2)
    assert long_texts.find([], unlimited()) is None
    assert process.pid is None


def test_where_none_can_begin_texts_are_searched_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(subprocess, "Popen", refused)
    there = patterns_of(PLAN, PatternsOfLongTexts(PLAN, SearchProcess()))
    text = dense(2 * LONG)
    assert next(there.detect_all([(text, "")], unlimited())) == patterns_of(PLAN).detect(text)


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "HANGS_S", 0.1)
    monkeypatch.setattr(processes, "AGAIN_S", 3600.0)
    process = SearchProcess()
    ready(process)
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(SearchLate):
        PatternsOfLongTexts(PLAN, process).find([("a", "")], Allowance(until=monotonic() + 0.1))
    sleep(0.2)
    assert PatternsOfLongTexts(PLAN, process).find([("a", "")], unlimited()) is None
    assert process.pid is None
    assert not Path(f"/proc/{pid}").exists()


def test_a_process_that_never_makes_a_plan_ready_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    process = SearchProcess()
    long_texts = PatternsOfLongTexts(PLAN, process)
    assert long_texts.find([("a", "")], unlimited()) is None
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert long_texts.find([("a", "")], unlimited()) is None and process.pid == pid
    monkeypatch.setattr(processes, "READY_S", 0.0)
    assert long_texts.find([("a", "")], unlimited()) is None and process.pid is None


def test_one_that_was_ready_long_before_anybody_looked_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    process = SearchProcess()
    long_texts = PatternsOfLongTexts(PLAN, process)
    assert long_texts.find([("a", "")], unlimited()) is None
    pid, line = process.pid, next(iter(process._begun[0]._plans.values()))
    assert line is not None
    while not processes._is_readable(line, START_S):
        pass
    monkeypatch.setattr(processes, "READY_S", 0.0)
    assert long_texts.find([("a@example.com", "")], unlimited()) is not None and process.pid == pid
    process.end()


def test_a_process_that_only_takes_its_time_lives_on(process: SearchProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "HANGS_S", 0.3)
    pid, long_texts = process.pid, PatternsOfLongTexts(PLAN, process)
    for salt in range(5):
        with pytest.raises(SearchLate):
            long_texts.find([(dense(1_000_000, salt * 10_000), "")], Allowance(until=monotonic() + 0.1))
    sleep(0.5)
    assert long_texts.find([("a@example.com", "")], unlimited()) is not None
    assert process.pid == pid


def test_where_one_does_not_read_texts_are_searched_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "HANGS_S", 0.1)
    process = SearchProcess()
    ready(process)
    pid = process.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    there = patterns_of(PLAN, PatternsOfLongTexts(PLAN, process))
    text = dense(1_000_000)
    for _ in range(2):
        assert next(there.detect_all([(text, "")], unlimited())) == patterns_of(PLAN).detect(text)
    assert process.pid is None


def test_a_plan_that_the_process_cannot_have_is_searched_here(process: SearchProcess, caplog: pytest.LogCaptureFixture) -> None:
    long_texts = PatternsOfLongTexts(PLAN, process)
    long_texts._plan = b"nonsense"
    until = monotonic() + START_S
    while not caplog.records and monotonic() < until:
        assert long_texts.find([("a", "")], unlimited()) is None
        sleep(0.02)
    assert "cannot" in caplog.text


def test_plans_that_were_not_used_lately_are_made_ready_again() -> None:
    begun = Begun()
    try:
        for number in range(PLANS + 3):
            begun.is_ready(b"%d" % number)
        assert len(begun._plans) == PLANS
    finally:
        begun.end()


def test_the_process_ends_with_its_owner() -> None:
    program = (
        "from tests.filters.pii.test_long_texts import *\n"
        "process = SearchProcess(); ready(process); print(process.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen((sys.executable, "-c", program), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        owner.kill()
    until = monotonic() + 10
    while _runs(pid) and monotonic() < until:
        sleep(0.02)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Whether it has not ended; whoever has it now may not have collected it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_asking_one_that_was_never_begun() -> None:
    process = SearchProcess()
    with pytest.raises(NotThere):
        process.ask(Question(packed(PLAN)), unlimited())
    process.end()
