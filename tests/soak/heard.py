"""What a caller heard, as it is noted while it comes, and what is kept of it for the comparison."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tests.soak.asks import Api, Ask
from tests.soak.bodies import error_of, events_of, text_of
from tests.soak.seeds import PLACEHOLDER, owners, readable


@dataclass
class Heard:
    """began, ended: the event loop's time. status: 0 where no answer came. broke: how the connection ended, where it was not well.

    left: the caller hung up by itself. complete: the answer came to its end.
    """

    ask: Ask
    began: float
    ended: float = 0.0
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    left: bool = False
    broke: str = ""


@dataclass(frozen=True)
class Verdict:
    """What is kept. text: the answer's words, None where there are none or they cannot be read; wrong: why they cannot.

    code: of an error, the answer's or its stream's last event; in_dialect: whether it has the form of the caller's API.
    foreign: values of other requests. placeholders: that the caller should never see. events: of a stream.
    """

    ask: Ask
    began: float
    ended: float
    status: int
    exchange: str
    reason: str
    complete: bool
    left: bool
    broke: str
    text: str | None = None
    wrong: str = ""
    code: str = ""
    in_dialect: bool = True
    foreign: tuple[str, ...] = ()
    placeholders: int = 0
    events: int = 0


def judged(heard: Heard) -> Verdict:
    body = bytes(heard.body)
    seen = readable(body)
    verdict = Verdict(
        ask=heard.ask,
        began=heard.began,
        ended=heard.ended,
        status=heard.status,
        exchange=heard.headers.get("x-headrace-exchange", ""),
        reason=heard.headers.get("x-headrace-reason", ""),
        complete=heard.complete,
        left=heard.left,
        broke=heard.broke,
        foreign=_foreign(heard.ask, seen),
        placeholders=len(PLACEHOLDER.findall(seen)),
        events=body.count(b"\n\n") if heard.ask.stream else 0,
    )
    content = _content(heard, body)
    across = _foreign(heard.ask, content.get("text") or "")
    return replace(verdict, **content, foreign=tuple(dict.fromkeys((*verdict.foreign, *across))))


def _foreign(ask: Ask, text: str) -> tuple[str, ...]:
    """Values of others. What an own value begins with is none: an answer may be cut off within an address."""
    found = [value for number, value in owners(text) if number != ask.number]
    return tuple(value for value in found if not any(own.startswith(value) for own in ask.seeds))


def _content(heard: Heard, body: bytes) -> Mapping[str, Any]:
    if not heard.status or (heard.status >= 400 and not heard.complete):
        return {}
    return _error(heard.ask, body) if heard.status >= 400 else _answer(heard, body)


def _error(ask: Ask, body: bytes) -> Mapping[str, Any]:
    try:
        code, _, anthropic = error_of(json.loads(body))
    except ValueError as error:
        return {"in_dialect": False, "wrong": f"{error}: {body[:200]!r}"}
    return {"code": code, "in_dialect": anthropic == ask.anthropic}


def _answer(heard: Heard, body: bytes) -> Mapping[str, Any]:
    """Of a stream that was ended in-band also the error it ended with."""
    error = _last_error(heard.ask, body) if heard.ask.stream else {}
    if not heard.complete and not (heard.ask.stream and not heard.ask.tool):
        return error
    try:
        return {"text": text_of(heard.ask, body), **error}
    except ValueError as cause:
        if heard.ask.api is Api.EMBEDDINGS:  # which nobody reads on its way: a pool's nonsense arrives as it is
            return {"broke": f"nonsense: {cause}", "complete": False}
        return {**error, "wrong": "" if error else str(cause)}


def _last_error(ask: Ask, body: bytes) -> Mapping[str, Any]:
    try:
        documents = [document for document in events_of(body) if isinstance(document, dict) and document.get("error")]
        return _error(ask, json.dumps(documents[-1]).encode()) if documents else {}
    except ValueError as error:
        return {"wrong": str(error)}
