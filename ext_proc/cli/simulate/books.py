"""What a simulated pool received and what it generated for it."""

import asyncio
import base64
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

LIMIT_ENTRIES = 20_000  # a bench of minutes; older entries are dropped, and counted as dropped
LIMIT_BYTES = 256 << 20  # of request bodies kept, so that a long run cannot eat the machine


class Outcome(Enum):
    """How an exchange ended, as the pool saw it."""

    RUNNING = "running"
    COMPLETE = "complete"
    REFUSED = "refused"  # answered with an error
    CLIENT_GONE = "client gone"
    CUT = "cut"  # by the pool: the script said so, or it was stopped


@dataclass(slots=True)
class Entry:
    """One request. `completion_tokens` grows while the answer is generated: what was written, if the client hung up."""

    number: int
    method: str
    path: str  # with the query
    headers: tuple[tuple[str, str], ...]
    body: bytes
    status: int | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    outcome: Outcome = Outcome.RUNNING

    def header(self, name: str) -> str | None:
        """The first value of a header; `name` in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    def document(self) -> dict[str, object]:
        """The entry as JSON has it: a body that is not UTF-8 as `body_base64`."""
        return {
            "number": self.number,
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "status": self.status,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "outcome": self.outcome.value,
        } | _body(self.body)


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


@dataclass(slots=True)
class Books:
    """Every request since the start, the newest last, within the limits above."""

    entries: deque[Entry] = field(default_factory=deque)
    dropped: int = 0
    running: int = 0
    _bytes: int = 0
    _opened: int = 0
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def open(self, method: str, path: str, headers: tuple[tuple[str, str], ...], body: bytes) -> Entry:
        """Write down a request."""
        self._opened += 1
        self.running += 1
        entry = Entry(self._opened, method, path, headers, body)
        self.entries.append(entry)
        self._bytes += len(body)
        while len(self.entries) > LIMIT_ENTRIES or (self._bytes > LIMIT_BYTES and len(self.entries) > 1):
            self._bytes -= len(self.entries.popleft().body)
            self.dropped += 1
        self._changed.set()
        return entry

    def write(self, entry: Entry, tokens: int) -> None:
        """Write down that tokens were generated."""
        entry.completion_tokens += tokens
        self._changed.set()

    def close(self, entry: Entry, outcome: Outcome) -> None:
        """Write down how a request ended; once per entry."""
        entry.outcome = outcome
        self.running -= 1
        self._changed.set()

    async def until(self, holds: "Callable[[Books], bool]") -> None:
        """Return as soon as `holds(books)`; it is asked now and after every change."""
        while not holds(self):
            self._changed.clear()
            await self._changed.wait()

    def clear(self) -> None:
        """Forget every entry; the numbers go on."""
        self.entries.clear()
        self.dropped = self._bytes = 0

    def since(self, number: int) -> Iterator[Entry]:
        """The entries after that number."""
        return (entry for entry in self.entries if entry.number > number)

    @property
    def prompt_tokens(self) -> int:
        """Of all entries kept."""
        return sum(entry.prompt_tokens for entry in self.entries)

    @property
    def completion_tokens(self) -> int:
        """Of all entries kept."""
        return sum(entry.completion_tokens for entry in self.entries)

    def document(self, since: int = 0) -> dict[str, object]:
        """The books as GET /books has them; totals cover all entries kept."""
        return {
            "dropped": self.dropped,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "entries": [entry.document() for entry in self.since(since)],
        }
