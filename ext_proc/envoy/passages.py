"""What becomes of an attempt's answer on its way through the service, under FULL_DUPLEX_STREAMED."""

from collections.abc import Sequence
from typing import Protocol

from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.envoy.codec import headers_answer, headers_of, streamed_body, streamed_trailers
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
