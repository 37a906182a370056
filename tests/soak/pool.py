"""A simulated pool that tells its books while it writes them, so that `kill -9` takes nothing away that was answered.

`python -m tests.soak.pool NAME PORT SOCKET`: the driver listens at SOCKET. What is told is in the kernel's hands before the
answer's bytes are; a pool that nobody listens to ends.
"""

import asyncio
import socket
import sys

import msgspec
import uvloop

from headrace.ext_proc.cli.simulate import SimulatedPool
from headrace.ext_proc.cli.simulate.books import Books, Entry, Outcome
from tests.soak.seeds import owners, readable

LENGTH_BYTES = 4
EVERY = 16
"""Tokens of an answer, after the first, between two tellings of it."""


class Told(msgspec.Struct, array_like=True):
    """One change of one entry. number: the entry's, within this pool's life; request: the caller's `x-number`, -1 without one.

    opens: the request has just arrived. leaks: what personal data was in it. tokens: prompt and answer, as far as they are
    generated, or up to EVERY fewer of an answer that goes on.
    """

    pool: str
    number: int
    request: int
    status: int
    outcome: str
    prompt_tokens: int
    completion_tokens: int
    opens: bool = False
    leaks: tuple[str, ...] = ()


class ToldBooks(Books):
    """Keeps nothing itself: every change goes to the driver."""

    def __init__(self, name: str, driver: socket.socket) -> None:
        super().__init__()
        self._name, self._driver = name, driver

    def open(self, method: str, path: str, headers: tuple[tuple[str, str], ...], body: bytes) -> Entry:
        entry = super().open(method, path, headers, body)
        self.clear()
        self._tell(entry, opens=True, leaks=_leaks(headers, body))
        return entry

    def write(self, entry: Entry, tokens: int) -> None:
        super().write(entry, tokens)
        told, now = entry.completion_tokens - tokens, entry.completion_tokens
        if not told or told // EVERY < now // EVERY:
            self._tell(entry)

    def close(self, entry: Entry, outcome: Outcome) -> None:
        super().close(entry, outcome)
        self._tell(entry)

    def _tell(self, entry: Entry, *, opens: bool = False, leaks: tuple[str, ...] = ()) -> None:
        said = Told(
            self._name,
            entry.number,
            _number(entry.header("x-number")),
            entry.status or 0,
            entry.outcome.value,
            entry.prompt_tokens,
            entry.completion_tokens,
            opens,
            leaks,
        )
        data = msgspec.msgpack.encode(said)
        self._driver.sendall(len(data).to_bytes(LENGTH_BYTES, "big") + data)


def _leaks(headers: tuple[tuple[str, str], ...], body: bytes) -> tuple[str, ...]:
    """Personal data that callers have sent, anywhere in what arrived."""
    told = "\n".join(value for _, value in headers)
    return tuple(value for text in (told, readable(body)) for _, value in owners(text))


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else -1


async def _serve(name: str, port: int, path: str) -> None:
    """Until the driver closes its end."""
    driver = socket.socket(socket.AF_UNIX)
    driver.connect(path)
    async with SimulatedPool(name, port=port, books=ToldBooks(name, driver)):
        print("listens", flush=True)
        await asyncio.to_thread(driver.recv, 1)


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
