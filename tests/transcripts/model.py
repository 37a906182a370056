"""Transcripts: what a caller asks, what the upstream answers, and what everybody sees of it. Format: tests/exchanges/README.md."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml import YAML

from headrace.ext_proc.core.effects import Release, Settle
from headrace.ext_proc.engine.load.metrics import Snapshot

FOLDER = Path(__file__).parent.parent / "exchanges"
POLICIES = FOLDER / "policies"
JSON, EVENTS = "application/json", "text/event-stream"
TOP = {"policy", "with", "before", "load", "request", "upstream", "expect", "not_through"}


@dataclass(frozen=True)
class Request:
    """subset: the servers the gateway allows, as it says it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    subset: Any = None


@dataclass(frozen=True)
class Upstream:
    """What the model server answers. events: the stream's events as bytes, None for an answer that is no stream.

    hangs_up_after: the caller leaves when it has seen so many events. server: who answers, as ip:port, where the gateway says so.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    events: Sequence[bytes] | None
    hangs_up_after: int | None
    server: str = ""

    @property
    def data(self) -> bytes:
        return self.body if self.events is None else b"".join(self.events)


@dataclass(frozen=True)
class Turn:
    """One exchange."""

    request: Request
    upstream: Upstream


@dataclass(frozen=True)
class Transcript:
    """before: exchanges that take place first, under the same policy and store. not_through: drivers that cannot play it.

    load: what the servers that have been heard of say of themselves.
    """

    name: str
    policy: Mapping[str, Any]
    before: Sequence[Turn]
    turn: Turn
    expect: Mapping[str, Any]
    not_through: Sequence[str] = ()
    load: Mapping[str, Snapshot] = field(default_factory=dict)


@dataclass(frozen=True)
class Received:
    """What reached an upstream."""

    upstream: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Seen:
    """What came of a turn. settled: the effects on leases, in order."""

    received: Received | None = None
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    settled: Sequence[Settle | Release] = ()
    decision: Mapping[str, Any] = field(default_factory=dict)


def transcripts() -> Iterator[Transcript]:
    """Every transcript of the folder, by name. Raises ValueError for a file that does not follow the format."""
    for path in sorted(FOLDER.glob("*.yaml")):
        yield read(path)


def read(path: Path) -> Transcript:
    document = YAML(typ="safe").load(path)
    if unknown := set(document) - TOP:
        raise ValueError(f"{path.name}: unknown members {sorted(unknown)}; see README.md")
    turn = _turn(document)
    before = [_turn({"request": document["request"], **earlier}) for earlier in document.get("before", ())]
    load = msgspec.convert(document.get("load", {}), dict[str, Snapshot])
    return Transcript(path.stem, _policy(document), before, turn, document["expect"], document.get("not_through", ()), load)


def _policy(document: Mapping[str, Any]) -> Mapping[str, Any]:
    named = YAML(typ="safe").load(POLICIES / f"{document['policy']}.yaml")
    return {**named, **document.get("with", {})}


def _turn(document: Mapping[str, Any]) -> Turn:
    return Turn(_request(document["request"]), _upstream(document.get("upstream") or {"body": {}}))


def _request(given: Mapping[str, Any]) -> Request:
    body = _bytes(given)
    headers = {"content-type": JSON} | dict(given.get("headers", {})) if body else dict(given.get("headers", {}))
    return Request(given.get("method", "POST"), given.get("path", "/v1/chat/completions"), headers, body, given.get("subset"))


def _bytes(given: Mapping[str, Any]) -> bytes:
    """`raw` as it is written (surrogates stand for bytes that are no UTF-8), or `body` as JSON; nothing where both are absent."""
    if "raw" in given:
        return str(given["raw"]).encode("utf-8", "surrogateescape")
    return json.dumps(given["body"], ensure_ascii=False).encode() if "body" in given else b""


def _upstream(given: Mapping[str, Any]) -> Upstream:
    events = None if "events" not in given else tuple(map(_event, given["events"]))
    headers = {"content-type": JSON if events is None else EVENTS} | dict(given.get("headers", {}))
    return Upstream(given.get("status", 200), headers, _bytes(given), events, given.get("hangs_up_after"), given.get("server", ""))


def _event(given: Any) -> bytes:
    """A string is data as it stands. A document with a `type` goes under that name, as Anthropic and the Responses API have it."""
    if isinstance(given, str):
        return f"data: {given}\n\n".encode()
    name = f"event: {given['type']}\n" if "type" in given else ""
    return f"{name}data: {json.dumps(given, ensure_ascii=False)}\n\n".encode()
