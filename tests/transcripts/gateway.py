"""A gateway in a few lines: does with a request and its answer what the service says, as Envoy with our configuration would."""

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from headrace.ext_proc.core.events import Deliver, Proceed, Reading, Refuse, RequestBody, RequestHeaders, ResponseHeaders
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.settlement import Finished
from headrace.ext_proc.core.sse import SseParser
from headrace.ext_proc.core.verdict import Edits
from headrace.ext_proc.envoy.config.names import RESPONSE_HEADERS, ROUTE_HEADER
from headrace.ext_proc.envoy.config.usage import IN_ANSWER, IN_EVENTS
from tests.transcripts.model import Received, Request, Seen, Turn, Upstream

SCALARS = (str, int, float, bool)


class Service(Protocol):
    """The service's side of one exchange. A `last` answer, or a refusal, ends it cleanly; the implementation sees to that."""

    async def headers(self, event: RequestHeaders) -> Proceed | Refuse: ...

    async def body(self, event: RequestBody) -> Proceed | Refuse: ...

    async def answer_headers(self, event: ResponseHeaders) -> Proceed | Refuse: ...

    async def whole(self, body: bytes) -> Deliver | Refuse: ...

    def stream(self, chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
        """What goes to the caller in place of the chunks; ends where the stream ends."""
        ...

    async def hang_up(self) -> None:
        """The caller is gone."""
        ...

    async def log(self, entry: Finished) -> None:
        """The gateway's access log, after the exchange."""
        ...


class Gateway:
    """One exchange. cut: how the upstream's stream is cut into chunks."""

    def __init__(self, service: Service, cut: int | None) -> None:
        self._service = service
        self._cut = cut
        self._metadata: dict[str, Any] = {}
        self._usage: Mapping[str, Any] = {}
        self._seen = Seen()

    async def run(self, turn: Turn) -> Seen:
        """What was seen, except for the effects."""
        if (request := await self._request(turn.request)) is not None:
            self._seen.received, stays = request
            await self._answer(turn.upstream, stays=stays)
        told = {name: self._metadata[key] for name, key in RESPONSE_HEADERS.items() if key in self._metadata}
        self._seen.headers = {**self._seen.headers, **{name: str(value) for name, value in told.items()}}
        reached = self._seen.received is not None
        await self._service.log(Finished(self._metadata, self._usage, self._seen.status, reached))
        return self._seen

    async def _request(self, request: Request) -> tuple[Received, bool] | None:
        """What reaches the upstream, and whether the service sees the answer; None when it was refused."""
        headers = dict(request.headers)
        pairs = [(":method", request.method), (":path", request.path), (":authority", "gateway"), *headers.items()]
        answer = await self._service.headers(RequestHeaders(Headers(pairs), not request.body, request.subset))
        if isinstance(answer, Refuse):
            self._refused(answer)
            return None
        body, last = request.body, answer.last
        self._edit(headers, answer)
        if request.body and not last:
            answer = await self._service.body(RequestBody(body))
            if isinstance(answer, Refuse):
                self._refused(answer)
                return None
            self._edit(headers, answer)
            body, last = body if answer.body is None else answer.body, answer.last
        upstream = headers.pop(ROUTE_HEADER, "standard")
        headers["content-length"] = str(len(body))
        return Received(upstream, headers, body), not last

    def _edit(self, headers: dict[str, str], answer: Proceed) -> None:
        self._metadata |= answer.metadata
        _apply(headers, answer.edits)

    def _refused(self, answer: Refuse) -> None:
        self._seen.status, self._seen.headers, self._seen.body = answer.status, dict(answer.headers), answer.body

    async def _answer(self, upstream: Upstream, *, stays: bool) -> None:
        headers = dict(upstream.headers)
        self._seen.status, self._seen.headers, self._seen.body = upstream.status, headers, upstream.data
        reading = await self._reading(upstream, headers) if stays else None
        if reading is None:
            self._pass(upstream)
        elif reading is Reading.WHOLE:
            await self._whole(upstream, headers)
        else:
            self._seen.body = b"".join([piece async for piece in self._stream(upstream)])

    async def _reading(self, upstream: Upstream, headers: dict[str, str]) -> Reading | None:
        received = Headers([(":status", str(upstream.status)), *headers.items()])
        event = ResponseHeaders(upstream.status, received, server=upstream.server)
        answer = await self._service.answer_headers(event)
        if isinstance(answer, Refuse):
            self._refused(answer)
            return None
        self._edit(headers, answer)
        return answer.read

    def _pass(self, upstream: Upstream) -> None:
        """The answer stays in the gateway, which reads its usage."""
        events = upstream.events if upstream.hangs_up_after is None else (upstream.events or ())[: upstream.hangs_up_after]
        if events is not None:
            self._seen.body = b"".join(events) if self._seen.body == upstream.data else self._seen.body
            self._usage = dict(_flat(map(_json_of, events), IN_EVENTS))
        else:
            self._usage = dict(_flat([_json(upstream.body)], IN_ANSWER))

    async def _whole(self, upstream: Upstream, headers: dict[str, str]) -> None:
        answer = await self._service.whole(upstream.body)
        if isinstance(answer, Refuse):
            self._refused(answer)
            return
        if answer.headers is not None:
            _apply(headers, answer.headers)
        self._seen.body = answer.data
        return

    async def _stream(self, upstream: Upstream) -> AsyncIterator[bytes]:
        events = list(upstream.events or ())
        if upstream.hangs_up_after is None:
            async for piece in self._service.stream([*cut_events(events, self._cut), b""]):
                yield piece
            return
        async for piece in self._service.stream(cut_events(events[: upstream.hangs_up_after], self._cut)):
            yield piece
        await self._service.hang_up()


def cut_events(events: Sequence[bytes], size: int | None) -> Sequence[bytes]:
    """At every event, or every `size` bytes; 0 for everything at once."""
    if size is None:
        return events
    data = b"".join(events)
    return [data[at : at + size] for at in range(0, len(data), size)] if size else [data]


def _apply(headers: dict[str, str], edits: Edits) -> None:
    for name in edits.remove_headers:
        headers.pop(name, None)
    headers.update(edits.set_headers)


def _json_of(event: bytes) -> Any:
    (parsed,) = SseParser().feed(event)
    return parsed.json


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return None


def _flat(documents: Any, places: Any) -> Iterator[tuple[str, Any]]:
    """What Envoy's metadata filters would write, by the rules of our own configuration; the last one stands."""
    for document in documents:
        for place, members in places:
            for path, key in members.items():
                value = _at(document, f"{place}.{path}".removeprefix(".").split("."))
                if isinstance(value, SCALARS):
                    yield key, value


def _at(value: Any, steps: Sequence[str]) -> Any:
    for step in steps:
        value = value.get(step) if isinstance(value, dict) else None
    return value
