"""One attempt of a request at one upstream: its credential, its path, the model it serves, and the wait for its first token.

Envoy calls from the upstream's own filters, once for every attempt. The attempts of a request share their headers: what one of
them sets, the next one finds. The body comes as the first one got it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct

from headrace.ext_proc.core.candidates import FIRST_TOKEN_KEY, answered, candidates_of
from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.endpoint import Dialect, endpoint_of, with_deployment
from headrace.ext_proc.core.errors import HeadraceError, ProtocolError
from headrace.ext_proc.core.events import Refuse
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.json_body import parse, render
from headrace.ext_proc.core.verdict import SetMember
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.policy.destinations import Destination
from headrace.ext_proc.engine.translate import Translator, translated, translator_for
from headrace.ext_proc.envoy.codec import header_option, headers_of, immediate, message_of
from headrace.ext_proc.envoy.metadata import NAMESPACE
from headrace.ext_proc.envoy.passages import FirstToken, Passage, Translated
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb

UPSTREAM: Final = "headrace-upstream"
"""Initial metadata of the gRPC stream: the upstream whose filter calls."""

CREDENTIALS: Final = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "proxy-authorization", "cookie")
"""Of the caller, or of the attempt before."""

ANTHROPIC_VERSION: Final = "2023-06-01"

_WALL = SystemClock()


class UnknownUpstream(HeadraceError):
    """The gateway's configuration names an upstream that the policy does not have."""


class Attempts:
    """Opens a stream for every attempt. destinations: the upstreams of the policy in force."""

    def __init__(self, destinations: Callable[[], Mapping[str, Destination]]) -> None:
        self._destinations = destinations

    def open(self, upstream: str, finish: Callable[[], None]) -> "AttemptStream":
        """Raises UnknownUpstream; Envoy then asks the next candidate. finish: called when the stream is closed."""
        destination = self._destinations().get(upstream)
        if destination is None:
            raise UnknownUpstream(f"there is no upstream {upstream!r} in the policy; render Envoy's configuration anew")
        return AttemptStream(destination, finish)


class AttemptStream:
    """The conversation about one attempt; `finished` and `over` as ProcessStream's."""

    def __init__(self, destination: Destination, finish: Callable[[], None], now_ms: Callable[[], int] = _WALL.now_ms) -> None:
        self.finished = False
        self.over = False
        self._destination = destination
        self._finish = finish
        self._now_ms = now_ms
        self._exchange = ""
        self._model: str | None = None
        self._efforts: Sequence[str] = ()
        self._translator: Translator | None = None
        self._passage: Passage | None = None

    async def receive(self, data: bytes) -> Sequence[bytes]:
        """The messages to send in answer to one message. Raises HeadraceError, after which the stream must be aborted."""
        message = message_of(data)
        kind = message.WhichOneof("request")
        answers: Sequence[pb.ProcessingResponse]
        if kind == "request_headers":
            answers = [self._on_request_headers(message)]
        elif kind == "request_body":
            answers = [self._on_request_body(message.request_body.body)]
        elif self._passage is not None:
            answers = self._passage.receive(message)
            self.over = self._passage.over
        else:
            raise ProtocolError(f"the proxy sent {kind or 'an empty message'}, which an attempt does not ask for")
        return [answer.SerializeToString() for answer in answers]

    def _on_request_headers(self, message: pb.ProcessingRequest) -> pb.ProcessingResponse:
        told = _told(message)
        headers = headers_of(message.request_headers)
        path = _path(told, headers)
        self._exchange = str(told.get("exchange", ""))
        self._model = _other_model(told, self._destination.name)
        self._passage = FirstToken() if FIRST_TOKEN_KEY in told else None
        self._efforts = _efforts_of(told, self._destination.name)
        if "settle" in told:  # nothing else has been admitted
            self._translator = translator_for(endpoint_of("POST", path), self._destination.dialect)
        answer = pb.ProcessingResponse()
        answer.request_headers.SetInParent()
        mutation = answer.request_headers.response.header_mutation
        if served := _model_of(told, self._destination.name):
            path = with_deployment(path, served)
        at = self._destination.prefix + (self._translator.path if self._translator else path)
        mutation.set_headers.append(header_option(":path", at))
        if "settle" in told:
            _credential(mutation, headers, self._destination)
        body = self._model is not None or self._translator is not None or _follows(told, self._destination.name)
        if body or self._passage is not None:
            answer.mode_override.CopyFrom(_modes(body=body, answer=bool(self._passage or self._translator)))
        self._end_request(body_follows=body)
        return answer

    def _on_request_body(self, body: bytes) -> pb.ProcessingResponse:
        if self._model is not None:
            body = render(body, [SetMember(("model",), self._model)])
        if self._translator is not None:
            asked = parse(body)
            said = translated(self._translator, asked, self._exchange, self._efforts)
            if isinstance(said, Refuse):  # 400 is an answer of Envoy's that it does not try elsewhere
                self.finished = True
                return immediate(said)
            body = said
            self._passage = Translated(self._translator, asked, self._now_ms() // 1000)
        answer = pb.ProcessingResponse()
        common = answer.request_body.response
        common.body_mutation.body = body
        common.header_mutation.set_headers.append(header_option("content-length", str(len(body))))
        self._end_request(body_follows=False)
        return answer

    def _end_request(self, *, body_follows: bool) -> None:
        self.finished = self._passage is None and not body_follows

    def close(self, _: Cause) -> None:
        """Call exactly once."""
        self._finish()


def _told(message: pb.ProcessingRequest) -> Mapping[str, Any]:
    """What the chain told the gateway of this request; empty for requests it was not asked about."""
    spaces = message.metadata_context.filter_metadata
    return _plain(spaces[NAMESPACE]) if NAMESPACE in spaces else {}


def _plain(struct: Struct) -> Mapping[str, Any]:
    return {name: getattr(value, value.WhichOneof("kind") or "null_value") for name, value in struct.fields.items()}


def _other_model(told: Mapping[str, Any], upstream: str) -> str | None:
    """The model that this upstream serves instead of the one that was asked for."""
    attempt = answered(told, upstream)
    return None if attempt is None or attempt.by.model == told.get("asked") else attempt.by.model


def _model_of(told: Mapping[str, Any], upstream: str) -> str:
    """The model that this upstream serves; "" where the chain said nothing of it."""
    attempt = answered(told, upstream)
    return "" if attempt is None else attempt.by.model


def _efforts_of(told: Mapping[str, Any], upstream: str) -> Sequence[str]:
    attempt = answered(told, upstream)
    return () if attempt is None else attempt.by.efforts


def _follows(told: Mapping[str, Any], upstream: str) -> bool:
    """Whether another upstream was asked before, and may have left the length of another body in the headers."""
    candidates = candidates_of(told)
    return bool(candidates) and candidates[0].upstream != upstream


def _path(told: Mapping[str, Any], headers: Headers) -> str:
    """As the caller asked; an attempt before may have put another upstream's prefix into `:path`."""
    path = told.get("path")
    return path if isinstance(path, str) else headers.get(":path")


def _credential(mutation: pb.HeaderMutation, headers: Headers, destination: Destination) -> None:
    """The upstream's own, and nobody else's."""
    own: Mapping[str, str] = {}
    if destination.api_key is not None and destination.dialect is Dialect.ANTHROPIC:
        own = {"x-api-key": destination.api_key}
    elif destination.api_key is not None:
        own = {"authorization": f"Bearer {destination.api_key}"}
    if destination.dialect is Dialect.ANTHROPIC and "anthropic-version" not in headers:
        own = {**own, "anthropic-version": ANTHROPIC_VERSION}
    mutation.remove_headers.extend(name for name in CREDENTIALS if name in headers and name not in own)
    mutation.set_headers.extend(header_option(name, value) for name, value in own.items())


def _modes(*, body: bool, answer: bool) -> pb.ProcessingMode:
    return pb.ProcessingMode(
        request_header_mode=pb.SEND,
        request_body_mode=pb.BUFFERED if body else pb.NONE,
        request_trailer_mode=pb.SKIP,
        response_header_mode=pb.SEND if answer else pb.SKIP,
        response_body_mode=pb.FULL_DUPLEX_STREAMED if answer else pb.NONE,
        response_trailer_mode=pb.SEND if answer else pb.SKIP,
    )
