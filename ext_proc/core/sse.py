"""Server-sent events, cut out of a byte stream as they come; an event that nobody changes keeps its bytes.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream
"""

import re
from functools import cached_property
from typing import Any

from headrace.ext_proc.core.errors import StreamError
from headrace.ext_proc.core.json_body import encode, parse_lenient, written

_END = rb"(?:\r\n|\n|\r(?!\n))"
_BLANK_LINE = re.compile(_END + _END)
_LINES = re.compile(r"\r\n|\n|\r")
_DATA_ALONE = re.compile(rb"data: ([^\r\n]*+)\n\n")
"""What most events are."""
_BOM = b"\xef\xbb\xbf"

MAX_EVENT = 8 * 1024 * 1024
"""Bytes of one event. A final Responses event repeats the whole answer; more than this is an attack on our memory."""


class SseEvent:
    """One event. `raw` is what goes on the wire, its closing blank line included."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    @classmethod
    def of(cls, data: str, name: str | None = None) -> "SseEvent":
        """An event of our own with `data` and, if given, an event name."""
        head = f"event: {name}\n" if name else ""
        lines = "".join(f"data: {line}\n" for line in _LINES.split(data))
        return cls(f"{head}{lines}\n".encode("utf-8", "replace"))

    def with_json(self, document: Any) -> "SseEvent":
        """The same event (its name kept) with `document` as its data."""
        name = self.name
        head = f"event: {name}\n".encode("utf-8", "replace") if name else b""
        lax = b"NaN" in self.raw or b"Infinity" in self.raw  # as words of a text they do no harm
        return SseEvent(b"%bdata: %b\n\n" % (head, written(document) if lax else encode(document)))  # JSON is one line

    @cached_property
    def fields(self) -> dict[str, str]:
        """Field name → value; several `data` lines are joined by newlines, comments are left out."""
        if only := _DATA_ALONE.fullmatch(self.raw):
            return {"data": only[1].decode("utf-8", "replace")}
        found: dict[str, str] = {}
        for line in _LINES.split(self.raw.removeprefix(_BOM).decode("utf-8", "replace")):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data" and "data" in found:
                found["data"] += "\n" + value
            elif name:
                found[name] = value
        return found

    @property
    def data(self) -> str | None:
        """The event's data, or None for a comment or a ping without data."""
        return self.fields.get("data")

    @property
    def name(self) -> str | None:
        return self.fields.get("event")

    @cached_property
    def json(self) -> Any:
        """The data as JSON, or None where it is none (`[DONE]`, comments)."""
        return None if self.data is None or self.is_done else parse_lenient(self.data)

    @property
    def is_done(self) -> bool:
        """OpenAI's end mark."""
        return self.data is not None and self.data.strip() == "[DONE]"

    def __repr__(self) -> str:
        return f"SseEvent({len(self.raw)} bytes)"


class SseParser:
    """Bytes in, events out, wherever the chunks are cut."""

    def __init__(self, limit: int = MAX_EVENT) -> None:
        self._buffer = bytearray()
        self._seen = 0
        self._limit = limit

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """The events that `chunk` completes.

        Raises StreamError when one event outgrows the limit.
        """
        self._buffer += chunk
        events, start = [], 0
        while (match := _BLANK_LINE.search(self._buffer, max(start, self._seen - 3))) is not None:
            if match.end() == len(self._buffer) and self._buffer.endswith(b"\r"):
                break  # the next chunk may start with the line feed of this line end
            events.append(SseEvent(bytes(self._buffer[start : match.end()])))
            start = self._seen = match.end()
        del self._buffer[:start]
        self._seen = len(self._buffer)
        if self._seen > self._limit:
            raise StreamError(f"an event of the answer is larger than {self._limit} bytes")
        return events

    def finish(self) -> list[SseEvent]:
        """What is left when the stream ends: an event without its closing blank line."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        self._seen = 0
        return [SseEvent(rest)] if rest else []
