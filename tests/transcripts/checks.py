"""Compares what a driver saw with what a transcript expects."""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.ext_proc.core.effects import Release, Settle
from headrace.ext_proc.core.sse import SseParser
from headrace.ext_proc.core.usage import text_of
from headrace.ext_proc.engine.json_text import json_or_none
from tests.transcripts.model import Received, Seen, Transcript

UNCHANGED = "unchanged"


def check(transcript: Transcript, seen: Seen) -> None:
    """Raises AssertionError at the first thing that is not as expected; every member of `expect` is looked at."""
    expected = dict(transcript.expect)
    _refusal(expected.pop("refused", None), seen)
    _upstream(expected.pop("upstream", None), transcript, seen.received)
    _client(expected.pop("client", None), transcript, seen)
    _settled(expected.pop("settled", []), seen.settled)
    contains(seen.decision, expected.pop("decision", {}), "decision")
    assert not expected, f"expect: unknown members {sorted(expected)}"


def contains(found: Any, expected: Any, place: str) -> None:
    """Every member of `expected` is in `found`, at any depth; a null member is absent. Lists match item by item."""
    if isinstance(expected, Mapping):
        assert isinstance(found, Mapping), f"{place}: {found!r} has no members"
        for name, value in expected.items():
            if value is None:
                assert found.get(name) is None, f"{place}.{name} is {found.get(name)!r} and should be absent"
            else:
                assert name in found, f"{place}.{name} is absent; there are {sorted(found)}"
                contains(found[name], value, f"{place}.{name}")
    elif isinstance(expected, list):
        assert isinstance(found, Sequence) and len(found) == len(expected), f"{place}: {found!r} is not {expected!r}"
        for index, value in enumerate(expected):
            contains(found[index], value, f"{place}[{index}]")
    else:
        assert found == expected, f"{place}: {found!r} is not {expected!r}"


def _refusal(expected: Mapping[str, Any] | None, seen: Seen) -> None:
    """A refusal never reaches an upstream."""
    if expected is None:
        return
    assert seen.received is None, f"a refused request reached {seen.received}"
    contains({"status": seen.status, "headers": seen.headers, "body": json_or_none(seen.body)}, expected, "refused")


def _upstream(expected: Mapping[str, Any] | None, transcript: Transcript, received: Received | None) -> None:
    if expected is None:
        return
    assert received is not None, "nothing reached an upstream"
    assert not [name for name in received.headers if name.startswith("x-headrace-")], "our headers reached the upstream"
    wanted = dict(expected)
    body = wanted.pop("body", UNCHANGED)
    if body == UNCHANGED:
        assert received.body == transcript.turn.request.body, "the body that reached the upstream is not the one sent"
    else:
        contains(json_or_none(received.body), body, "upstream.body")
        assert json_or_none(received.body) == body, "upstream.body has members that it should not have"
    contains({"name": received.upstream, "headers": received.headers}, wanted, "upstream")


def _client(expected: Mapping[str, Any] | None, transcript: Transcript, seen: Seen) -> None:
    if expected is None:
        return
    wanted = {"status": 200, **expected}
    body, events, text = wanted.pop("body", None), wanted.pop("events", None), wanted.pop("text", None)
    if body is not None:
        _is_body(body, transcript, seen)
    if events is not None:
        documents = [event.json if event.json is not None else event.data for event in SseParser().feed(seen.body)]
        contains(documents, events, "client.events")
    if text is not None:
        words = "".join(text_of(event.json) for event in SseParser().feed(seen.body))
        assert words == text, f"client.text: {words!r} is not {text!r}"
    contains({"status": seen.status, "headers": seen.headers}, wanted, "client")


def _is_body(body: Any, transcript: Transcript, seen: Seen) -> None:
    if body == UNCHANGED:
        assert seen.body == transcript.turn.upstream.data, "the answer is not the upstream's, byte for byte"
    else:
        assert json_or_none(seen.body) == body, f"client.body: {seen.body!r}"


def _settled(expected: Sequence[Any], settled: Sequence[Settle | Release]) -> None:
    contains([_words(effect) for effect in settled], expected, "settled")


def _words(effect: Settle | Release) -> Mapping[str, Any]:
    if isinstance(effect, Release):
        return {"release": effect.lease}
    usage = effect.usage and {"input_tokens": effect.usage.input_tokens, "output_tokens": effect.usage.output_tokens}
    price = effect.price and {"input": effect.price.input, "output": effect.price.output}
    told = {name: effect.context.get(name) for name in ("asked", "model")}
    return {"settle": effect.lease or "nothing", "usage": usage or "as reserved", "price": price, **told}
