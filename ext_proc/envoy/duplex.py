"""The conversation with a gateway that streams bodies both ways: FULL_DUPLEX_STREAMED, as the Endpoint Picker Protocol demands it.

Every byte has to be sent back, and the stream may not be closed before the last one: what is in flight then is lost.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.events import Answer, Deliver, Event, Hold, Proceed, Reading, Refuse, RequestBody, ResponseHeaders
from headrace.ext_proc.core.exchange import Exchange, State
from headrace.ext_proc.engine.step import Steps, step
from headrace.ext_proc.envoy.codec import decode, headers_answer, immediate, mutate, proceed, streamed_body, streamed_trailers
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb

MAX_BODY: Final = 64 * 1024 * 1024
"""Bytes of a prompt that is collected here; other gateways buffer it and have a limit of their own."""

Messages = Sequence[pb.ProcessingResponse]


class Duplex:
    """One exchange. answer_within: seconds for each answer.

    `refused`: end the gRPC stream with status OK; `over`: the last byte has been sent back.
    """

    def __init__(self, exchange: Exchange, answer_within: float, steps: Steps | None = None) -> None:
        self.refused = False
        self.over = False
        self._exchange = exchange
        self._step: Steps = steps or partial(step, exchange)
        self._answer_within = answer_within
        self._request_head: pb.ProcessingResponse | None = None
        self._answer_head: pb.ProcessingResponse | None = None
        self._body = bytearray()

    async def receive(self, message: pb.ProcessingRequest) -> Messages:
        """Raises ProtocolError."""
        match message.WhichOneof("request"):
            case "request_headers":
                return await self._on_request_headers(message)
            case "request_body":
                return await self._on_request_body(message.request_body)
            case "response_headers":
                return await self._on_response_headers(message)
            case "response_body":
                return await self._on_response_body(message)
            case "request_trailers":
                return await self._on_request_trailers()
            case "response_trailers":
                self.over = True
                return await self._on_response_trailers(message)
        raise ProtocolError("the proxy sent a message that Headrace does not ask for")

    async def _ask(self, event: Event) -> Answer:
        answer = await self._step(event, deadline=asyncio.get_running_loop().time() + self._answer_within)
        self.refused = isinstance(answer, Refuse)
        return answer

    async def _on_request_headers(self, message: pb.ProcessingRequest) -> Messages:
        event = decode(message)
        answer = await self._ask(event)
        told = _told(event, answer)
        if self.refused or message.request_headers.end_of_stream or self._exchange.state is not State.AWAIT_BODY:
            return [told]
        self._request_head = told
        return []

    async def _on_request_body(self, body: pb.HttpBody) -> Messages:
        if self._request_head is None:
            return list(streamed_body(body.body, end=body.end_of_stream, request=True))
        self._body += body.body
        if len(self._body) > MAX_BODY:
            return [_told(event := RequestBody(b"", too_large=True), await self._ask(event))]
        return await self._on_request_end(end=True) if body.end_of_stream else []

    async def _on_request_trailers(self) -> Messages:
        """They end the body, which has said nothing of its end, and are sent back behind it."""
        messages = await self._on_request_end(end=False)
        return messages if self.refused else [*messages, streamed_trailers(request=True)]

    async def _on_request_end(self, *, end: bool) -> Messages:
        """The head, with what the headers' and the body's answer say of it, and then the body. end: nothing comes behind it."""
        head, self._request_head = self._request_head, None
        if head is None:
            return []
        original = bytes(self._body)
        event = RequestBody(original)
        answer = await self._ask(event)
        said = _told(event, answer)
        if self.refused:
            return [said]
        body = original
        if said.request_body.response.HasField("body_mutation"):
            body = said.request_body.response.body_mutation.body
            said.request_body.response.ClearField("body_mutation")
        _merge(head.request_headers.response.header_mutation, said.request_body.response.header_mutation)
        said.request_body.response.ClearField("header_mutation")
        head.request_headers.response.MergeFrom(said.request_body.response)
        head.dynamic_metadata.MergeFrom(said.dynamic_metadata)
        return [head, *streamed_body(body, end=end, request=True)]

    async def _on_response_headers(self, message: pb.ProcessingRequest) -> Messages:
        event = decode(message)
        assert isinstance(event, ResponseHeaders), "of this message"
        self.over = event.end
        if self._exchange.state not in (State.START, State.AWAIT_BODY, State.AWAIT_RESPONSE):
            return [headers_answer()]
        answer = await self._ask(event)
        told = _told(event, answer)
        told.ClearField("mode_override")
        if isinstance(answer, Proceed) and answer.read is Reading.WHOLE:
            self._answer_head = told
            return []
        return [told]

    async def _on_response_body(self, message: pb.ProcessingRequest) -> Messages:
        body = message.response_body
        self.over = body.end_of_stream
        if self._exchange.state not in (State.COLLECTING, State.STREAMING):
            return list(streamed_body(body.body, end=body.end_of_stream))
        return self._delivered(await self._ask(decode(message)))

    async def _on_response_trailers(self, message: pb.ProcessingRequest) -> Messages:
        if self._exchange.state not in (State.COLLECTING, State.STREAMING):
            return [streamed_trailers()]
        return self._delivered(await self._ask(decode(message)))

    def _delivered(self, answer: Answer) -> Messages:
        match answer:
            case Hold():
                return []
            case Refuse():
                return [immediate(answer)]
            case Deliver():
                tail = [streamed_trailers()] if answer.trailers else []
                return [*self._head(answer), *streamed_body(answer.data, end=answer.end), *tail]
            case _:
                raise ProtocolError("an answer's body is delivered, held or refused")

    def _head(self, answer: Deliver) -> Messages:
        """The head of an answer that was collected, held until now; its length may have changed."""
        head, self._answer_head = self._answer_head, None
        if head is None:
            return []
        mutation = head.response_headers.response.header_mutation
        if answer.headers:
            later = pb.HeaderMutation()
            mutate(later, answer.headers)
            _merge(mutation, later)
        mutation.remove_headers.append("content-length")
        return [head]


def _merge(mutation: pb.HeaderMutation, later: pb.HeaderMutation) -> None:
    """Adds the edits of a later phase, which win by name: Envoy carries removals out before sets, so a set that is undone goes."""
    undone = {*later.remove_headers, *(option.header.key for option in later.set_headers)}
    kept = [option for option in mutation.set_headers if option.header.key not in undone]
    del mutation.set_headers[:]
    mutation.set_headers.extend([*kept, *later.set_headers])
    mutation.remove_headers.extend(later.remove_headers)


def _told(event: Event, answer: Answer) -> pb.ProcessingResponse:
    if isinstance(answer, Refuse):
        return immediate(answer)
    assert isinstance(answer, Proceed), "to headers, and to a request's body"
    return proceed(event, answer)
