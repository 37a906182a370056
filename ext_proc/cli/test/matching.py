"""Compares what was played with what a case expects."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from headrace.ext_proc.cli.test.format import CasePart, ChargedPart, GotPart, RefusedPart, SentPart, SpanPart, StepPart
from headrace.ext_proc.core.sse import SseParser
from headrace.ext_proc.core.usage import text_of
from headrace.ext_proc.engine.json_text import json_or_none
from headrace.ext_proc.engine.policy.problems import Where
from headrace.ext_proc.engine.trial import Got, Played

Differences = Iterator[tuple[Where, str]]
UNCHANGED = "unchanged"
_MOST_SHOWN = 200
"""Characters of a value in a message."""


def differences(case: CasePart, played: Played) -> Differences:
    """Every place below `expect` where it is not as expected, and how it is instead."""
    expect = case.expect
    yield from _refusal(expect.refused, played)
    if expect.route is not None:
        yield from _route(expect.route, played)
    if expect.sent is not None:
        yield from _sent(expect.sent, case, played)
    yield from _never(("never_sent",), expect.never_sent, _sent_text(case, played))
    if expect.got is not None:
        yield from _got(expect.got, case, played.got)
    yield from _never(("never_got",), expect.never_got, _got_text(played.got))
    yield from _steps(expect.filters, played)
    if expect.spans is not None:
        yield from _spans(expect.spans, played)
    if expect.charged is not None:
        yield from _charged(expect.charged, played)


def _refusal(expected: RefusedPart | bool | None, played: Played) -> Differences:
    refused = bool(played.refused)
    if expected is False and refused:
        yield ("refused",), f"was refused: {_words_of(played)}"
    if not isinstance(expected, RefusedPart):
        return
    if not refused or played.got is None:
        yield ("refused",), f"was sent to {_place(played)}, not refused"
        return
    if expected.status is not None and expected.status != played.got.status:
        yield ("refused", "status"), f"is {played.got.status}, not {expected.status}: {_words_of(played)}"
    if expected.code is not None and expected.code != played.refused:
        yield ("refused", "code"), f"is {played.refused!r}, not {expected.code!r}: {_words_of(played)}"
    if expected.message is not None and expected.message not in _words_of(played):
        yield ("refused", "message"), f"{_shown(expected.message)} is not in {_shown(_words_of(played))}"


def _words_of(played: Played) -> str:
    """The message that the caller of a refused request reads."""
    document = json_or_none(played.got.body if played.got else b"")
    error = document.get("error") if isinstance(document, dict) else None
    return str(error.get("message")) if isinstance(error, dict) else played.refused


def _place(played: Played) -> str:
    return repr(played.sent.upstream) if played.sent and played.sent.upstream else "the upstream of its route"


def _route(expected: str, played: Played) -> Differences:
    if played.sent is None:
        yield ("route",), f"was refused: {_words_of(played)}"
    elif played.sent.upstream != expected:
        yield ("route",), f"is {_place(played)}, not {expected!r}; {_why(played)}"


def _why(played: Played) -> str:
    """What the routing filter said of each candidate."""
    steps: Sequence[Mapping[str, Any]] = played.record.get("steps", ())
    note: Mapping[str, Any] = next((step.get("note", {}) for step in steps if step["filter"] == "routing"), {})
    told = [f"{one['upstream']}: {one['why']}" for one in note.get("candidates", ())]
    return ", ".join(told) or "the routing filter said nothing"


def _sent(expected: SentPart, case: CasePart, played: Played) -> Differences:
    if played.sent is None:
        yield ("sent",), f"was refused: {_words_of(played)}"
        return
    headers = {**case.request.fields, **played.sent.edits.set_headers}
    left = {name: value for name, value in headers.items() if name not in played.sent.edits.remove_headers}
    yield from _headers(("sent", "headers"), expected.headers, left)
    if "body" in expected.model_fields_set:
        yield from _body(("sent", "body"), expected.body, case.request.data, played.sent.body)


def _sent_text(case: CasePart, played: Played) -> str:
    """What the model server can read of a request, escapes of JSON resolved."""
    if played.sent is None:
        return ""
    return _text(case.request.data if played.sent.body is None else played.sent.body)


def _got(expected: GotPart, case: CasePart, got: Got | None) -> Differences:
    if got is None:
        yield ("got",), "no answer came"
        return
    if expected.status is not None and expected.status != got.status:
        yield ("got", "status"), f"is {got.status}, not {expected.status}"
    yield from _headers(("got", "headers"), expected.headers, got.headers)
    if expected.text is not None and (words := _streamed(got.body)) != expected.text:
        yield ("got", "text"), f"is {_shown(words)}"
    if "body" in expected.model_fields_set:
        came = case.answer.answered.body if case.answer else b""
        yield from _body(("got", "body"), expected.body, came, None if got.body == came else got.body)


def _got_text(got: Got | None) -> str:
    """What the caller can read: a stream's words may be cut anywhere by its events."""
    return "" if got is None else f"{_text(got.body)} {_streamed(got.body)}"


def _streamed(body: bytes) -> str:
    return "".join(text_of(event.json) for event in SseParser().feed(body))


def _body(where: Where, expected: Any, came: bytes, left: bytes | None) -> Differences:
    """came: as it arrived. left: as it went on, None where it is the same."""
    if expected == UNCHANGED:
        if left is not None:
            yield where, f"was rewritten: {_shown(_text(left))}"
        return
    yield from _members(where, expected, json_or_none(came if left is None else left))


def _headers(where: Where, expected: Mapping[str, str | None], found: Mapping[str, str]) -> Differences:
    for name, value in expected.items():
        there = found.get(name.lower())
        if there != value:
            yield (*where, name), f"is {_shown(there)}" if there is not None else "is absent"


def _never(where: Where, words: Sequence[str], text: str) -> Differences:
    for index, word in enumerate(words):
        if word in text:
            yield (*where, index), f"{_shown(word)} is there: {_shown(text)}"


def _steps(expected: Mapping[str, StepPart], played: Played) -> Differences:
    for name, part in expected.items():
        where: Where = ("filters", name)
        steps = [step for step in played.record.get("steps", ()) if step["filter"] == name]
        if not steps:
            yield where, f"it had no say; there are {', '.join(_names(played)) or 'none'}"
        elif len(found := [list(_step(where, part, step)) for step in steps]) and all(found):
            yield from min(found, key=len)


def _names(played: Played) -> Sequence[str]:
    return list(dict.fromkeys(str(step["filter"]) for step in played.record.get("steps", ())))


def _step(where: Where, part: StepPart, step: Mapping[str, Any]) -> Differences:
    if part.outcome is not None and part.outcome != step["outcome"]:
        yield (*where, "outcome"), f"is {step['outcome']!r}, not {part.outcome!r}"
    if part.reason is not None and part.reason != step["reason"]:
        yield (*where, "reason"), f"is {step['reason']!r}, not {part.reason!r}"
    yield from _members((*where, "note"), part.note, step.get("note", {}))


def _spans(expected: Sequence[SpanPart], played: Played) -> Differences:
    """By kind, and by place where one is given; the filter's notes name kinds and places, never values."""
    notes = [step.get("note", {}) for step in played.record.get("steps", ()) if step["filter"] == "pii"]
    found: Counter[str] = Counter()
    for note in notes:
        found.update(note.get("findings", {}))
    paths = {path for note in notes for path in note.get("paths", ())}
    for index, span in enumerate(expected):
        if not found[span.type] or span.count not in (None, found[span.type]):
            yield ("spans", index), f"{found[span.type]} {span.type}, not {span.count or 'any'}; found: {_counts(found)}"
        elif span.path is not None and span.path not in paths:
            yield ("spans", index, "path"), f"nothing was found there; found in {', '.join(sorted(paths))}"
    for kind in sorted(found.keys() - {span.type for span in expected}):
        yield ("spans",), f"{found[kind]} {kind} found besides"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()) if count) or "nothing"


def _charged(expected: ChargedPart, played: Played) -> Differences:
    settled: Mapping[str, Any] = played.settlements[-1] if played.settlements else {}
    found = {**settled.get("usage", {}), "usd": settled.get("usd")}
    for name, value in expected.model_dump(exclude_none=True).items():
        if found.get(name) != value:
            yield ("charged", name), f"is {_shown(found.get(name))}, not {_shown(value)}"


def _members(where: Where, expected: Any, found: Any) -> Differences:
    """Every member expected is there, at any depth; one that is null is absent; lists match item by item."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name, value in expected.items():
            if value is not None or found.get(name) is not None:
                yield from _members((*where, name), value, found.get(name))
    elif isinstance(expected, list) and isinstance(found, list | tuple) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from _members((*where, index), one, other)
    elif expected != found:
        yield where, f"is {_shown(found)}" if found is not None else "is absent"


def _text(body: bytes) -> str:
    """The body as a reader of its JSON sees it; as it stands where it is none."""
    document = json_or_none(body)
    return body.decode("utf-8", "replace") if document is None else json.dumps(document, ensure_ascii=False)


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
