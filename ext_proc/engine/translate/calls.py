"""The calls of tools in a stream of chat completions, one behind the other: OpenAI's may overlap, Anthropic's blocks do not."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from headrace.ext_proc.core.answer_half import MAX_ANSWER
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.json_body import parse_lenient
from headrace.ext_proc.engine.translate.values import Document, mapping, string

MAX_HELD: Final = MAX_ANSWER
"""Characters of calls that wait for the one before them."""


class Call:
    """index: which one of the message's calls; a server that gives them all the same one tells them apart by their ids."""

    def __init__(self, call: Mapping[str, Any]) -> None:
        self.index = call.get("index")
        self.id = call.get("id")
        self.name = mapping(call.get("function")).get("name")
        self.parts: list[str] = []

    @property
    def block(self) -> Document:
        return {"type": "tool_use", "id": self.id, "name": self.name, "input": {}}

    def has(self, call: Mapping[str, Any]) -> bool:
        """Whether a part of a call is this one's."""
        return call.get("index") == self.index and (not call.get("id") or call["id"] == self.id)

    @property
    def is_whole(self) -> bool:
        return isinstance(parse_lenient("".join(self.parts)), dict)


class Calls:
    """The first call is told as it comes. One behind it waits for the end of all, unless the one before is whole when it begins."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._held = 0

    def take(self, call: Mapping[str, Any]) -> Iterator[tuple[Call, str]]:
        """What can be told: of which call, and what part of its arguments; "" where it begins. A part of no call is dropped.

        Raises ProtocolError over MAX_HELD.
        """
        one = next((known for known in self._calls if known.has(call)), None)
        if one is None:
            one = Call(call)
            if not one.id and not one.name:
                return
            yield from self._begin(one)
        if part := string(mapping(call.get("function")).get("arguments")):
            yield from self._add(one, part)

    def _begin(self, call: Call) -> Iterator[tuple[Call, str]]:
        self._calls.append(call)
        if len(self._calls) == 1:
            yield call, ""
        elif self._calls[0].is_whole:
            yield from self._next()

    def _add(self, call: Call, part: str) -> Iterator[tuple[Call, str]]:
        call.parts.append(part)
        if call is self._calls[0]:
            yield call, part
        elif (held := self._held + len(part)) <= MAX_HELD:
            self._held = held
        else:
            raise ProtocolError(f"calls of more than {MAX_HELD} characters wait for one that does not end")

    def _next(self) -> Iterator[tuple[Call, str]]:
        """The first one is over; of the one behind it, what has waited."""
        del self._calls[0]
        if self._calls:
            first = self._calls[0]
            yield first, ""
            yield first, "".join(first.parts)

    def end(self) -> Iterator[tuple[Call, str]]:
        while self._calls:
            yield from self._next()
        self._held = 0
