"""The pool's HTTP surface: the model endpoints, the model list and the books."""

import time
from collections.abc import Mapping, Sequence

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from . import chat, completions, counts, embeddings, messages, responses, script, turn
from .books import Books, Entry, Outcome
from .reply import Refusal, Reply
from .script import Script
from .turn import Dialect, Turn

DIALECTS: Mapping[str, Dialect] = {
    chat.PATH: chat,
    completions.PATH: completions,
    embeddings.PATH: embeddings,
    responses.PATH: responses,
    messages.PATH: messages,
    counts.MESSAGES.path: counts.MESSAGES,
    counts.RESPONSES.path: counts.RESPONSES,
}


def build(books: Books, models: Sequence[str], default: Script) -> ASGIApp:
    """The application. `default` answers requests without a script of their own; `models` are what GET /v1/models lists."""
    routes = [Route(path, _Endpoint(books, dialect, default)) for path, dialect in DIALECTS.items()]
    return Starlette(routes=[*routes, *_pages(books, models), Route("/{path:path}", _Unknown(books))])


def _pages(books: Books, models: Sequence[str]) -> list[Route]:
    async def show(request: Request) -> Response:
        since = request.query_params.get("since", "0")
        if not since.isdecimal():
            return JSONResponse({"error": "since: the number of an entry"}, status_code=400)
        return Response(msgspec.json.encode(books.document(int(since))), media_type="application/json")

    async def clear(request: Request) -> Response:
        books.clear()
        return Response(status_code=204)

    async def list_models(request: Request) -> Response:
        entry = await _enter(books, request)
        entry.status = 200
        books.close(entry, Outcome.COMPLETE)
        data = [{"id": name, "object": "model", "created": 0, "owned_by": "headrace"} for name in models]
        return JSONResponse({"object": "list", "data": data})

    return [
        Route("/books", show, methods=["GET"]),
        Route("/books", clear, methods=["DELETE"]),
        Route("/v1/models", list_models, methods=["GET"]),
    ]


async def _enter(books: Books, request: Request) -> Entry:
    """Books the request; one whose body broke off is booked with no body, as the client's going."""
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw)
    try:
        return books.open(request.method, path, headers, await request.body())
    except ClientDisconnect:
        books.close(books.open(request.method, path, headers, b""), Outcome.CLIENT_GONE)
        raise


class _Unknown:
    """Everything else: 404, booked."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        entry = await _enter(self._books, request)
        await Refusal(self._books, entry, 404, chat.error(404, f"no such endpoint: {entry.path}"))(scope, receive, send)


class _Endpoint:
    """One model endpoint."""

    def __init__(self, books: Books, dialect: Dialect, default: Script) -> None:
        self._books = books
        self._dialect = dialect
        self._default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = await _enter(self._books, Request(scope, receive))
        await self._respond(entry)(scope, receive, send)

    def _respond(self, entry: Entry) -> ASGIApp:
        if entry.method != "POST":
            return self._refuse(entry, 405, "POST is the only method here")
        try:
            wanted = script.parse(asked) if (asked := entry.header(script.HEADER)) is not None else self._default
            ask = self._dialect.read(entry.body)
        except (ValueError, RecursionError) as error:
            return self._refuse(entry, 400, str(error))
        if wanted.fail is not None:
            return self._refuse(entry, wanted.fail, "simulated failure")
        entry.prompt_tokens = ask.prompt_tokens
        created = int(time.time())
        return self._reply(entry, Turn(str(entry.number), created, ask, wanted, turn.answer(ask, wanted)))

    def _reply(self, entry: Entry, said: Turn) -> Reply:
        whole = None if said.ask.stream else self._dialect.whole(said)
        return Reply(self._books, entry, said.script, self._dialect.events(said), whole)

    def _refuse(self, entry: Entry, status: int, message: str) -> Refusal:
        return Refusal(self._books, entry, status, self._dialect.error(status, message))
