"""Placeholders become values again, in text that comes in pieces cut anywhere."""

import json
import re
from bisect import bisect_left
from collections.abc import Mapping
from typing import Protocol


class TextFlow(Protocol):
    """Text in pieces in, changed text out; what comes out altogether does not depend on how the pieces were cut."""

    def feed(self, text: str) -> str:
        """What can be said now."""
        ...

    def flush(self) -> str:
        """What was held back; the text ends here."""
        ...

    @property
    def pending(self) -> bool:
        """Whether something is held back."""
        ...


class Tokens:
    """The placeholders of one exchange, prepared for search: shared by all its channels.

    In `values` no key is a prefix of another. A model may change a placeholder's case: letters match in either case.
    """

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = {token.lower(): value for token, value in values.items()}
        self._sorted = sorted(self._values)
        self._lengths = sorted({len(token) for token in self._values})
        self.start = re.compile("|".join(sorted({re.escape(token[0]) for token in self._values})) or r"(?!)")

    def at(self, text: str, index: int) -> tuple[int, str] | None:
        """The end and the value of the token that starts at `index`."""
        for length in self._lengths:
            value = self._values.get(text[index : index + length].lower())
            if value is not None:
                return index + length, value
        return None

    def may_start_at(self, text: str, index: int) -> bool:
        """Whether the text from `index` on is the beginning of a token and ends before it does."""
        if len(text) - index >= self._lengths[-1]:
            return False
        tail = text[index:].lower()
        place = bisect_left(self._sorted, tail)
        return place < len(self._sorted) and self._sorted[place].startswith(tail)


class Restorer:
    """Puts values in place of tokens; holds back only what may become a token."""

    def __init__(self, tokens: Tokens) -> None:
        self._tokens = tokens
        self._held = ""

    def feed(self, text: str) -> str:
        data, self._held = self._held + text, ""
        out: list[str] = []
        done = 0
        while (start := self._tokens.start.search(data, done)) is not None:
            index = start.start()
            out.append(data[done:index])
            if (found := self._tokens.at(data, index)) is not None:
                done, value = found
                out.append(value)
            elif self._tokens.may_start_at(data, index):
                self._held = data[index:]
                return "".join(out)
            else:
                done = index + (2 if data[index] == "\\" else 1)  # in JSON the character after a backslash starts nothing
                out.append(data[index:done])
        out.append(data[done:])
        return "".join(out)

    def flush(self) -> str:
        held, self._held = self._held, ""
        return held

    @property
    def pending(self) -> bool:
        return bool(self._held)


def restored(tokens: Tokens, text: str) -> str:
    """A whole text with its tokens restored."""
    restorer = Restorer(tokens)
    return restorer.feed(text) + restorer.flush()


def in_json(values: Mapping[str, str]) -> dict[str, str]:
    """The same values for text that is JSON, where tokens stand inside strings: values are escaped.

    Some servers escape `<` and `>` in JSON, so a token has two spellings.
    """
    escaped: dict[str, str] = {}
    for token, value in values.items():
        inside = json.dumps(value, ensure_ascii=False)[1:-1]
        escaped[token] = inside
        escaped[token.replace("<", "\\u003c").replace(">", "\\u003e")] = inside
    return escaped
