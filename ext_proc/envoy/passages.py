"""What becomes of an attempt's answer on its way through the service, under FULL_DUPLEX_STREAMED."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headrace.ext_proc.core.answer_half import MAX_ANSWER
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.json_body import encode, parse_lenient
from headrace.ext_proc.core.sse import SseEvent, SseParser
from headrace.ext_proc.engine.translate import Translator
from headrace.ext_proc.envoy.codec import header_option, headers_answer, headers_of, streamed_body, streamed_trailers
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb

Messages = Sequence[pb.ProcessingResponse]


class Passage(Protocol):
    """over: the answer has come to its end; Envoy closing the stream now is no accident."""

    over: bool

    def receive(self, message: pb.ProcessingRequest) -> Messages:
        """The messages that answer one message of the response. Raises ProtocolError for any other."""
        ...


class FirstToken:
    """Holds the head of a stream back until its first bytes come: until then Envoy may ask another upstream.

    Servers send the head of a stream as soon as they have queued the request, and its first bytes with the first token. Envoy
    calls the attempt off where nothing has gone to the caller within its time.
    """

    def __init__(self) -> None:
        self.over = False
        self._held = False

    def receive(self, message: pb.ProcessingRequest) -> Messages:
        match message.WhichOneof("request"):
            case "response_headers":
                return self._head(message.response_headers)
            case "response_body":
                return [*self._release(), *self._body(message.response_body)]
            case "response_trailers":
                self.over = True
                return [*self._release(), streamed_trailers()]
        raise ProtocolError("the proxy sent what an answer does not have")

    def _head(self, head: pb.HttpHeaders) -> Messages:
        headers = headers_of(head)
        self.over = head.end_of_stream
        self._held = not head.end_of_stream and headers.get(":status") == "200"
        return [] if self._held else [headers_answer()]

    def _body(self, body: pb.HttpBody) -> Messages:
        self.over = body.end_of_stream
        return list(streamed_body(body.body, end=body.end_of_stream))

    def _release(self) -> Messages:
        if not self._held:
            return []
        self._held = False
        return [headers_answer()]


class Translated:
    """An answer in the other API's words: a stream event by event, everything else whole. Its head waits for its first words, so
    that a late first token is found out here, too. request: the caller's; created: epoch seconds.
    """

    def __init__(self, translator: Translator, request: Mapping[str, Any], created: int) -> None:
        self.over = False
        self._translator = translator
        self._created = created
        self._stream = translator.stream(request, created)
        self._parser = SseParser()
        self._status = 0
        self._is_stream = False
        self._head: pb.ProcessingResponse | None = None
        self._body = bytearray()

    def receive(self, message: pb.ProcessingRequest) -> Messages:
        match message.WhichOneof("request"):
            case "response_headers":
                return self._on_head(message.response_headers)
            case "response_body":
                body = message.response_body
                self.over = body.end_of_stream
                return self._on_events(body) if self._is_stream else self._on_part(body)
            case "response_trailers":
                self.over = True
                return [*self._rest(), streamed_trailers()]
        raise ProtocolError("the proxy sent what an answer does not have")

    def _on_head(self, head: pb.HttpHeaders) -> Messages:
        headers = headers_of(head)
        status = headers.get(":status")
        self._status = int(status) if status.isdecimal() else 0
        self._is_stream = headers.get("content-type").lower().startswith("text/event-stream")
        self._head = headers_answer()
        mutation = self._head.response_headers.response.header_mutation
        mutation.remove_headers.append("content-length")
        callers, theirs = self._translator.request_id
        if theirs in headers and callers not in headers:
            mutation.set_headers.append(header_option(callers, headers.get(theirs)))
        self.over = head.end_of_stream
        return self._release() if head.end_of_stream else []

    def _on_events(self, body: pb.HttpBody) -> Messages:
        said = self._said(self._parser.feed(body.body))
        if body.end_of_stream:
            said += self._last()
        if not said and not body.end_of_stream:
            return []
        return [*self._release(), *streamed_body(said, end=body.end_of_stream)]

    def _said(self, events: Sequence[SseEvent]) -> bytes:
        return b"".join(one.raw for event in events for one in self._stream.event(event))

    def _last(self) -> bytes:
        return self._said(self._parser.finish()) + b"".join(one.raw for one in self._stream.end())

    def _on_part(self, body: pb.HttpBody) -> Messages:
        self._body += body.body
        if len(self._body) > MAX_ANSWER:
            raise ProtocolError(f"the answer has more than {MAX_ANSWER} bytes")
        return [*self._release(), *streamed_body(self._whole(), end=True)] if body.end_of_stream else []

    def _rest(self) -> Messages:
        """What is held back when the answer ends with trailers."""
        said = self._last() if self._is_stream else self._whole()
        return [*self._release(), *streamed_body(said, end=False)]

    def _whole(self) -> bytes:
        document = parse_lenient(bytes(self._body))
        if not isinstance(document, dict):
            return bytes(self._body)  # a page of some proxy's: the caller sees what it is
        if self._status >= 400:
            return encode(self._translator.error(document, self._status))
        return encode(self._translator.answer(document, self._created))

    def _release(self) -> Messages:
        head, self._head = self._head, None
        return [] if head is None else [head]
