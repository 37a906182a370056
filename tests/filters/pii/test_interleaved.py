"""Property: the choices and tool calls of one stream, their pieces in any order, are each what they would be alone; also when the
stream breaks off, or nobody listens any more.

HEADRACE_LONG=1 runs 5,000 random streams instead of a hundred.
"""

import os
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.sse import SseEvent
from tests.filters.pii import test_channels as alone
from tests.filters.pii.driver import event

CASES = 5_000 if os.environ.get("HEADRACE_LONG") else 100
Key = tuple[int, str, int]
"""A choice's number, the member of its delta, and of `tool_calls` the call's number."""
CALL = "tool_calls"
NAMES = {"content": "content", "refusal": "refusal", "reasoning_content": "reasoning", CALL: "tool arguments"}
KEYS: Sequence[Key] = [(choice, name, call) for choice in range(3) for name in NAMES for call in range(2 if name == CALL else 1)]


def channel(key: Key) -> alone.Channel:
    return alone.CHANNELS[NAMES[key[1]]]


def delta_of(key: Key, piece: str) -> dict[str, Any]:
    _, name, call = key
    return {CALL: [{"index": call, "function": {"arguments": piece}}]} if name == CALL else {name: piece}


def documents(texts: Mapping[Key, str], chance: random.Random) -> list[Any]:
    """The pieces of all texts, each text's in its order, one or two in an event; a choice ends with its last piece."""
    left = {key: pieces for key, text in texts.items() if (pieces := alone._pieces(text, chance))}
    told: list[Any] = []
    while left:
        choices = []
        for key in chance.sample(sorted(left), min(len(left), chance.choice([1, 1, 2]))):
            choices.append({"index": key[0], "delta": delta_of(key, left[key].pop(0)), "finish_reason": None})
            if not left[key]:
                del left[key]
            if all(other[0] != key[0] for other in left):
                choices.append({"index": key[0], "delta": {}, "finish_reason": "stop"})
        told.append({"choices": choices})
    return told


def added(documents: Sequence[Any]) -> dict[Key, str]:
    """What a client adds the pieces up to."""
    said: dict[Key, str] = defaultdict(str)
    for document in documents:
        for choice in document["choices"]:
            for name, value in choice["delta"].items():
                calls: list[Any] = value if name == CALL else [{"index": 0, "function": {"arguments": value}}]
                for call in calls:
                    said[choice["index"], name, call["index"]] += call["function"]["arguments"]
    return said


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.node.name)


def drawn(chance: random.Random) -> tuple[Mapping[Key, str], list[Any]]:
    keys = chance.sample(KEYS, chance.randint(1, 6))
    texts = {key: alone._in_json(alone._text(chance), chance) if key[1] == CALL else alone._text(chance) for key in keys}
    return texts, documents(texts, chance)


def heard(told: Sequence[Any], *, ends: bool) -> dict[Key, str]:
    """ends: the stream's end has come, too."""
    answer = alone._answer()
    out: list[SseEvent] = [each for one in told for each in answer.on_event(SseEvent(event(one)), Endpoint.CHAT)]
    return added([each.json for each in [*out, *(answer.on_stream_end() if ends else ())]])


def streams(chance: random.Random) -> Iterator[tuple[Mapping[Key, str], list[Any]]]:
    return (drawn(chance) for _ in range(CASES))


def whole(key: Key, text: str) -> str:
    return alone._whole(channel(key), text)


def test_each_is_what_it_would_be_alone(chance: random.Random) -> None:
    for texts, told in streams(chance):
        said = heard(told, ends=True)
        assert {key: said[key] for key in texts} == {key: whole(key, text) for key, text in texts.items()}


def test_what_a_caller_has_heard_who_hangs_up_is_how_each_begins(chance: random.Random) -> None:
    for texts, told in streams(chance):
        for key, part in heard(told[: chance.randint(0, len(told))], ends=False).items():
            assert whole(key, texts[key]).startswith(part)


def test_a_stream_that_breaks_off_is_what_each_would_be_that_broke_off_there(chance: random.Random) -> None:
    for _, told in streams(chance):
        told = told[: chance.randint(0, len(told))]
        broken = {key: part for key, part in added(told).items() if part}
        ended = {choice["index"] for one in told for choice in one["choices"] if choice["finish_reason"]}
        said = heard(told, ends=True)
        for key, part in broken.items():
            as_it_ended = channel(key) if key[0] in ended else replace(channel(key), ends=[])
            assert said[key] == alone._streamed(as_it_ended, [part], lambda raw: iter((raw,)))[0]
