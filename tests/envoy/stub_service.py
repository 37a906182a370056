"""A service that speaks ext_proc, the access log and health over a Unix socket and does what a test scripts."""

import asyncio
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio

from headrace.ext_proc.envoy.config.filters import with_stream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its generated code has not followed a pydantic spelling
    from envoy_data_plane.envoy.config.core.v3 import (
        HeaderMap,
        HeaderValue,
        HeaderValueOption,
        HeaderValueOptionHeaderAppendAction,
    )
    from envoy_data_plane.envoy.data.accesslog.v3 import HttpAccessLogEntry
    from envoy_data_plane.envoy.service.accesslog.v3 import StreamAccessLogsMessage, StreamAccessLogsResponse
    from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
    from envoy_data_plane.envoy.type.v3 import HttpStatus, StatusCode
    from envoy_data_plane.google.protobuf import Struct

SERVING = b"\x08\x01"
WAIT = 10.0


@dataclass(frozen=True)
class Decision:
    """What the service answers to a request."""

    route: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    edits: Mapping[str, str] = field(default_factory=dict)
    clear_route_cache: bool = True
    refuse: tuple[int, bytes] | None = None


@dataclass(frozen=True)
class Seen:
    """One exchange as the service saw it."""

    headers: Mapping[str, str]
    body: bytes
    initial_metadata: Mapping[str, str]


class StubService:
    """`decide` is asked for every request; `seen` and `entries` keep what arrived.

    While `inspects` is set, answers come through here; they are echoed and kept in `answers`.
    """

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.decide: Callable[[Seen], Decision] = lambda seen: Decision()
        self.inspects = False
        self.seen: list[Seen] = []
        self.answers: list[tuple[str, Any]] = []
        self.entries: list[HttpAccessLogEntry] = []
        self._arrived = asyncio.Condition()
        self._server = grpc.aio.server(options=[("grpc.max_receive_message_length", 64 << 20)])

    async def __aenter__(self) -> Self:
        self._server.add_generic_rpc_handlers((_Routes(self),))
        self._server.add_insecure_port(f"unix:{self.socket}")
        await self._server.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    async def stop(self) -> None:
        await self._server.stop(grace=None)

    async def logged(self, exchange: str) -> HttpAccessLogEntry:
        """The access-log entry of an exchange, awaited."""
        async with asyncio.timeout(WAIT), self._arrived:
            while (found := self._entry(exchange)) is None:
                await self._arrived.wait()
        return found

    def _entry(self, exchange: str) -> HttpAccessLogEntry | None:
        return next((entry for entry in self.entries if metadata(entry, "headrace").get("exchange") == exchange), None)

    async def process(self, messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        requests = (ext_proc.ProcessingRequest.parse(message) async for message in messages)
        first = await anext(requests)
        if first.request_headers is None:  # Envoy refused the request before it asked
            yield bytes(ext_proc.ProcessingResponse(response_headers=ext_proc.HeadersResponse()))
            return
        body = b""
        if not first.request_headers.end_of_stream:
            yield bytes(ext_proc.ProcessingResponse(request_headers=ext_proc.HeadersResponse()))
            second = await anext(requests)
            if second.request_body is None:  # Envoy refused the body by itself
                return
            body = second.request_body.body
        seen = Seen(header_map(first.request_headers.headers), body, _pairs(context.invocation_metadata()))
        self.seen.append(seen)
        decision = self.decide(seen)
        yield bytes(_answer(decision, whole=not first.request_headers.end_of_stream))
        if self.inspects:
            async for request in requests:
                if (echo := self._echo(request)) is not None:
                    yield bytes(echo)

    def _echo(self, request: ext_proc.ProcessingRequest) -> ext_proc.ProcessingResponse | None:
        if request.response_headers is not None:
            self.answers.append(("headers", (header_map(request.response_headers.headers), request.attributes)))
            return ext_proc.ProcessingResponse(response_headers=ext_proc.HeadersResponse(), mode_override=with_stream())
        if request.response_body is not None:
            self.answers.append(("body", request.response_body.body))
            return _echoed(request.response_body)
        return ext_proc.ProcessingResponse(response_trailers=ext_proc.TrailersResponse())

    async def access_log(self, messages: AsyncIterator[bytes], context: Any) -> bytes:
        async for message in messages:
            logs = StreamAccessLogsMessage.parse(message).http_logs
            async with self._arrived:
                self.entries.extend(logs.log_entry if logs else ())
                self._arrived.notify_all()
        return bytes(StreamAccessLogsResponse())

    async def health(self, message: bytes, context: Any) -> bytes:
        return SERVING


class _Routes(grpc.GenericRpcHandler):
    def __init__(self, service: StubService) -> None:
        self._handlers: Mapping[str, Any] = {
            "/envoy.service.ext_proc.v3.ExternalProcessor/Process": grpc.stream_stream_rpc_method_handler(service.process),
            "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs": grpc.stream_unary_rpc_method_handler(
                service.access_log
            ),
            "/grpc.health.v1.Health/Check": grpc.unary_unary_rpc_method_handler(service.health),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handlers.get(handler_call_details.method)


def metadata(entry: HttpAccessLogEntry, namespace: str) -> dict[str, Any]:
    """One namespace of an entry's dynamic metadata; empty when it has none."""
    common = entry.common_properties
    spaces = common.metadata.filter_metadata if common and common.metadata else {}
    return dict(spaces[namespace].to_dict()) if namespace in spaces else {}


def header_map(headers: HeaderMap | None) -> dict[str, str]:
    return {header.key: (header.raw_value or header.value.encode()).decode() for header in headers.headers} if headers else {}


def _pairs(pairs: Iterable[tuple[str, str | bytes]] | None) -> dict[str, str]:
    return {key: value if isinstance(value, str) else value.decode() for key, value in pairs or ()}


def _answer(decision: Decision, whole: bool) -> ext_proc.ProcessingResponse:
    facts = Struct.from_dict({"headrace": dict(decision.metadata)}) if decision.metadata else None
    if decision.refuse is not None:
        status, body = decision.refuse
        headers = _edits({"content-type": "application/json"})
        refusal = ext_proc.ImmediateResponse(status=HttpStatus(code=StatusCode(status)), body=body, headers=headers)
        return ext_proc.ProcessingResponse(immediate_response=refusal, dynamic_metadata=facts)
    route = {"x-headrace-route": decision.route} if decision.route else {}
    common = ext_proc.CommonResponse(
        header_mutation=_edits({**decision.edits, **route}), clear_route_cache=decision.clear_route_cache
    )
    if whole:
        return ext_proc.ProcessingResponse(request_body=ext_proc.BodyResponse(response=common), dynamic_metadata=facts)
    return ext_proc.ProcessingResponse(request_headers=ext_proc.HeadersResponse(response=common), dynamic_metadata=facts)


def _edits(headers: Mapping[str, str]) -> ext_proc.HeaderMutation:
    overwrite = HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD
    options = [
        HeaderValueOption(header=HeaderValue(key=key, raw_value=value.encode()), append_action=overwrite)
        for key, value in headers.items()
    ]
    return ext_proc.HeaderMutation(set_headers=options)


def _echoed(body: ext_proc.HttpBody) -> ext_proc.ProcessingResponse:
    chunk = ext_proc.StreamedBodyResponse(body=body.body, end_of_stream=body.end_of_stream)
    common = ext_proc.CommonResponse(body_mutation=ext_proc.BodyMutation(streamed_response=chunk))
    return ext_proc.ProcessingResponse(response_body=ext_proc.BodyResponse(response=common))
