"""What a policy's detector finds in samples: plain text, JSON, JSON lines."""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from headrace.ext_proc.engine.json_text import read_json
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem, Where
from headrace.ext_proc.engine.policy.problems import spelled as spelled_place
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.plan import Plan, detector_for, plan, warm
from headrace.filters.pii.settings import PiiSettings
from headrace.filters.pii.spans import Span
from headrace.filters.pii.strings import Kind, Text, collect, spelled

AT_ONCE = 4
"""Texts searched at once: enough to keep two models' processes busy."""


class BadLine(ValueError):
    """A line that is no JSON object with a text, or a file that is no JSON; the message says which, and why."""


class Sample(NamedTuple):
    """A text with its findings, and its place in the file: a line's number, a path of members, or nothing."""

    place: str
    text: str
    spans: Sequence[Span]


def planned(settings: PiiSettings, base: Path, file: str) -> Plan:
    """Raises PolicyErrors with what is wrong in the settings."""
    problems: list[Problem] = []

    def report(where: Where, message: str) -> None:
        problems.append(Problem(file, 0, spelled_place(where), message))

    found = plan(settings, base, report)
    if problems:
        raise PolicyErrors(problems)
    return found


def detector_of(plan: Plan) -> MemoDetector:
    """The plan's detector, its models loaded."""
    warm(plan)
    return detector_for(plan)


def text_of(line: str, where: str) -> Text:
    """The member `text` of a line; `where` names it in errors. Raises BadLine."""
    document = _document(line, where)
    if not isinstance(document, dict) or not isinstance(document.get("text"), str):
        raise BadLine(f'{where}: no object with a text, such as {{"text": "write to jane@example.com"}}')
    return Text((), str(document["text"]))


def searched(detector: MemoDetector, texts: Iterable[Text]) -> Iterator[Sequence[Span]]:
    """The findings in each text, in order; some are searched at once. Raises DetectionTimeout, ModelUnusable."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield from pool.map(lambda each: detector.detect(each.text, about=each.about), texts)


def samples(detector: MemoDetector, content: str, name: str) -> Iterator[Sample]:
    """Every text of a file: the strings of JSON (by its name's ending), else the lines' text as one. Raises BadLine."""
    places = list(_texts(content, name))
    for (place, text), spans in zip(places, searched(detector, [text for _, text in places]), strict=True):
        yield Sample(place, text.text, spans)


def _texts(content: str, name: str) -> Iterator[tuple[str, Text]]:
    if name.endswith(".jsonl"):
        for number, line in enumerate(content.splitlines(), 1):
            if line.strip():
                yield from _strings(_document(line, f"{name}:{number}"), f"{number}: ")
    elif name.endswith(".json"):
        yield from _strings(_document(content, name), "")
    else:
        yield "", Text((), content)


def _document(text: str, where: str) -> Any:
    try:
        return read_json(text)
    except ValueError as error:
        raise BadLine(f"{where}: {error}") from None


def _strings(document: Any, prefix: str) -> Iterator[tuple[str, Text]]:
    for each in collect(document, Kind.FREE).texts:
        yield f"{prefix}{spelled(each.path)}", each


def as_json(spans: Sequence[Span]) -> str:
    """One line: the spans, with offsets in code points."""
    return json.dumps({"spans": [{"start": s.start, "end": s.end, "type": s.entity, "score": s.score} for s in spans]})
