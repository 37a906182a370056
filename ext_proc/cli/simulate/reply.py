"""Writing one answer: paced, booked token by token, and given up when the client goes."""

import asyncio
from collections.abc import Iterable

import msgspec
from starlette.types import Receive, Scope, Send

from .books import Books, Entry, Outcome
from .script import Script
from .turn import Event

JSON = b"application/json"
SSE = b"text/event-stream; charset=utf-8"


class Reply:
    """An ASGI answer made of `events`; each is written at once, and its tokens are booked when it is.

    `whole`, when given, is what the client gets at the end instead of the events: a JSON answer takes the time of its
    tokens too.
    """

    def __init__(self, books: Books, entry: Entry, script: Script, events: Iterable[Event], whole: object = None) -> None:
        self._books = books
        self._entry = entry
        self._script = script
        self._events = events
        self._whole = whole

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write until the end, the script's cut, or the client's going, whichever comes first."""
        self._entry.status = 200
        writing = asyncio.create_task(self._write(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((writing, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await self._end(writing, leaving)

    async def _end(self, writing: "asyncio.Task[None]", leaving: "asyncio.Task[None]") -> None:
        finished, gone = writing.done(), leaving.done()
        writing.cancel()
        leaving.cancel()
        await asyncio.gather(writing, leaving, return_exceptions=True)
        if self._entry.outcome is Outcome.RUNNING:
            self._books.close(self._entry, Outcome.CLIENT_GONE if gone and not finished else Outcome.CUT)
        if finished:
            writing.result()

    async def _write(self, send: Send) -> None:
        """An answer that is not written to its end makes the server close the connection."""
        await asyncio.sleep(self._script.delay / 1000)
        if self._whole is None:
            await send(_start(SSE))
        if await self._generate(send):
            # Booked before the last byte leaves: whoever has read the answer finds it complete in the books.
            self._books.close(self._entry, Outcome.COMPLETE)
            await self._finish(send)
        elif self._whole is not None:
            await send(_start(JSON))  # cut: a status and no body

    async def _generate(self, send: Send) -> bool:
        """Whether every step was made. It waits before a step and never after the last one."""
        steps = 0
        for event in self._events:
            if event.tokens and await self._stops(steps):
                return False
            await asyncio.sleep(self._script.pace / 1000 if event.tokens else 0)
            if self._whole is None:
                await send({"type": "http.response.body", "body": event.data, "more_body": True})
            self._books.write(self._entry, event.tokens)
            steps += bool(event.tokens)
        return not await self._stops(steps)

    async def _finish(self, send: Send) -> None:
        if self._whole is None:
            await send({"type": "http.response.body", "body": b""})
        else:
            await _send_json(send, 200, self._whole)

    async def _stops(self, steps: int) -> bool:
        if steps == self._script.stall:
            await asyncio.Event().wait()  # until the client's going cancels this
        return steps == self._script.die


def _start(content_type: bytes, status: int = 200, *more: tuple[bytes, bytes]) -> dict[str, object]:
    headers = [(b"content-type", content_type), *more]
    return {"type": "http.response.start", "status": status, "headers": headers}


async def _send_json(send: Send, status: int, document: object, *headers: tuple[bytes, bytes]) -> None:
    body = msgspec.json.encode(document)
    await send(_start(JSON, status, (b"content-length", str(len(body)).encode()), *headers))
    await send({"type": "http.response.body", "body": body})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Refusal:
    """An ASGI answer with an error; 429 and 503 say when to come back."""

    def __init__(self, books: Books, entry: Entry, status: int, document: object) -> None:
        self._books = books
        self._entry = entry
        self._status = status
        self._document = document

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write the error."""
        self._entry.status = self._status
        self._books.close(self._entry, Outcome.REFUSED)
        later = ((b"retry-after", b"1"),) if self._status in (429, 503) else ()
        await _send_json(send, self._status, self._document, *later)
