"""Placeholders become values again, in text that comes in pieces cut anywhere.

A model may write a placeholder in other letters than it was given, with Markdown's backslashes (`<EMAIL\\_ADDRESS\\_k3f9q2ma>`) or
with HTML's entities for its brackets; JSON doubles the backslashes, and some servers escape the brackets.
"""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Protocol

import regex  # type: ignore[import-untyped]

from headrace.filters.pii.moves import Moves


class TextFlow(Protocol):
    """Text in pieces in, changed text out; what comes out altogether does not depend on how the pieces were cut."""

    def feed(self, text: str) -> str:
        """What can be said now."""
        ...

    def flush(self) -> str:
        """What was held back; the text ends here."""
        ...

    def whole(self, text: str) -> str:
        """What becomes of a text that comes in one piece; nothing else is fed."""
        ...

    @property
    def pending(self) -> bool:
        """Whether something is held back."""
        ...

    def moved(self, position: int) -> int | None:
        """Where a position in what was fed is in what came out; None where that has not come out."""
        ...


# Of the regex package for its partial matches, which tell what may still become a placeholder. No name of an entity is longer than
# 64 letters, so that what is held back has a bound.
_FLAGS = regex.IGNORECASE | regex.ASCII
_PLAIN = regex.compile(r"(\\?)(?:<|&lt;)((?:[A-Z0-9]|\\?_){1,80})(\\?)(?:>|&gt;)", _FLAGS)
_JSON = regex.compile(r"((?:\\\\)?)(?:<|&lt;|\\u003c)((?:[A-Z0-9]|(?:\\\\)?_){1,80})((?:\\\\)?)(?:>|&gt;|\\u003e)", _FLAGS)
_START = regex.compile(r"[<&\\]")
# What a cut may leave of an escape: it says nothing of the name before it.
_CUT_ESCAPE = regex.compile(r"(?:&(?:g|gt)?|\\{1,2}(?:u(?:0(?:0(?:3)?)?)?)?)$", _FLAGS)
_OPENING = regex.compile(r"^(?:\\\\|\\)?(?:<|&lt;|u003c)", _FLAGS)


class Tokens:
    """The placeholders of one exchange, shared by all its channels. values: name → value. json: for text that is JSON.

    There may be thousands, of which an answer has a few: nothing is prepared for each.
    """

    def __init__(self, values: Mapping[str, str], *, json: bool = False) -> None:
        self._values = values
        self._spelled = _JSON if json else _PLAIN
        self.json = json

    @cached_property
    def _sorted(self) -> Sequence[str]:
        return sorted(self._values)

    def at(self, text: str, index: int) -> tuple[int, str] | None:
        """The end and the value of the token that starts at `index`."""
        match = self._spelled.match(text, index)
        value = self._values.get(_name(match[2])) if match else None
        if match is None or value is None:
            return None
        if self.json:
            value = _in_json(value)
        # A backslash before the token alone is not Markdown's: it ends a path.
        return match.end(), value if match[3] else match[1] + value

    def may_start_at(self, text: str, index: int) -> bool:
        """Whether the text from `index` on is the beginning of a token and ends before it does."""
        match = self._spelled.fullmatch(text, index, partial=True)
        if match is None or not match.partial:
            return False
        tail = text[index:]
        opening = _OPENING.match(tail)
        if opening is None:
            return bool(self._values)
        name = _name(_CUT_ESCAPE.sub("", tail[opening.end() :]))
        place = bisect_left(self._sorted, name)
        return place < len(self._sorted) and self._sorted[place].startswith(name)


def _name(spelled: str) -> str:
    """A token's name without escapes."""
    return spelled.replace("\\", "").lower()


def _in_json(value: str) -> str:
    """The value as it stands inside a JSON string."""
    return json.dumps(value, ensure_ascii=False)[1:-1]


class Restorer:
    """Puts values in place of tokens; holds back only what may become a token."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._held = ""
        self._at = 0
        """Where in the whole text what is held begins."""
        self._moves: Moves | None = None

    def feed(self, text: str) -> str:
        data, self._held = self._held + text, ""
        out: list[str] = []
        done = 0
        while (start := _START.search(data, done)) is not None:
            index = start.start()
            out.append(data[done:index])
            if (found := self._tokens.at(data, index)) is not None:
                done, value = found
                out.append(value)
                self._replaced(index, done, value)
            elif self._tokens.may_start_at(data, index):
                self._held = data[index:]
                self._at += index
                return "".join(out)
            else:  # in JSON the character after a backslash starts nothing
                done = index + (2 if self._tokens.json and data[index] == "\\" else 1)
                out.append(data[index:done])
        out.append(data[done:])
        self._at += len(data)
        return "".join(out)

    def _replaced(self, start: int, end: int, value: str) -> None:
        if self._moves is None:
            self._moves = Moves()
        self._moves.replaced(self._at + start, self._at + end, value)

    def flush(self) -> str:
        held, self._held = self._held, ""
        self._at += len(held)
        return held

    def whole(self, text: str) -> str:
        return self.feed(text) + self.flush()

    def moved(self, position: int) -> int | None:
        if position > self._at:
            return None
        return position if self._moves is None else self._moves.of(position)

    @property
    def pending(self) -> bool:
        return bool(self._held)
