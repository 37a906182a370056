"""Driver: the service's gRPC server in this process, and a client that speaks ext_proc and the access log as Envoy does."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from headrace.ext_proc.core.events import Deliver, Proceed, Reading, Refuse, RequestBody, RequestHeaders, ResponseHeaders
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.settlement import Finished
from headrace.ext_proc.core.verdict import Edits
from headrace.ext_proc.envoy import access_log, processor
from headrace.ext_proc.envoy.access_log import USAGE_NAMESPACE, AccessLog
from headrace.ext_proc.envoy.codec import (
    ATTRIBUTES,
    CODE_DETAILS,
    PICKED_NAMESPACE,
    SERVED,
    SUBSET,
    SUBSET_NAMESPACE,
    VIA_UPSTREAM,
)
from headrace.ext_proc.envoy.config.names import CAPABILITIES, CAPABILITIES_HEADER, UsageReader
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.metadata import NAMESPACE
from headrace.ext_proc.envoy.pb import headrace_access_log_pb2 as log_pb
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.envoy.processor import Processor, ProcessStream
from headrace.ext_proc.envoy.services import methods
from headrace.ext_proc.envoy.transport import Transport, listen
from tests.transcripts.site import WAIT, Site, until

INITIAL_METADATA = ((CAPABILITIES_HEADER, ",".join(CAPABILITIES[UsageReader.GATEWAY])),)
READINGS = {pb.FULL_DUPLEX_STREAMED: Reading.STREAM, pb.BUFFERED: Reading.WHOLE, pb.NONE: None}


class Opened(Processor):
    """A processor whose latest stream can be looked at."""

    latest: ProcessStream

    def open(self, metadata: Mapping[str, str]) -> ProcessStream:
        stream = super().open(metadata)
        assert isinstance(stream, ProcessStream), "an exchange, no attempt"
        self.latest = stream
        return stream


@asynccontextmanager
async def serving(site: Site, folder: Path, transport: Transport) -> AsyncIterator[Opened]:
    """The three services of a worker on `folder/w.sock`."""
    opened = Opened(lambda: site.policy, site.new_id, site.submit, lambda: 0)
    served = methods(opened, AccessLog(site.submit), Health(lambda: True))
    server = listen(transport, served, f"unix:{folder}/w.sock")
    await server.start()
    try:
        yield opened
    finally:
        await server.stop(0)


class GrpcService:
    """One exchange: one gRPC stream."""

    def __init__(self, site: Site, opened: Opened, channel: grpc.aio.Channel) -> None:
        self._site = site
        self._opened = opened
        self._channel = channel
        self._call: Any = channel.stream_stream(processor.METHOD)(metadata=INITIAL_METADATA, timeout=WAIT)

    async def headers(self, event: RequestHeaders) -> Proceed | Refuse:
        first = pb.ProcessingRequest(request_headers=_headers(event.headers, event.end))
        first.protocol_config.request_body_mode = pb.BUFFERED
        if event.hint is not None:
            json_format.ParseDict({SUBSET: event.hint}, first.metadata_context.filter_metadata[SUBSET_NAMESPACE])
        return await self._ask(first, "request_headers")

    async def body(self, event: RequestBody) -> Proceed | Refuse:
        whole = pb.HttpBody(body=event.data, end_of_stream=True)
        return await self._ask(pb.ProcessingRequest(request_body=whole), "request_body")

    async def answer_headers(self, event: ResponseHeaders) -> Proceed | Refuse:
        message = pb.ProcessingRequest(response_headers=_headers(event.headers, event.end))
        message.attributes[ATTRIBUTES].fields[CODE_DETAILS].string_value = VIA_UPSTREAM
        if event.server:
            json_format.ParseDict({SERVED: event.server}, message.metadata_context.filter_metadata[PICKED_NAMESPACE])
        return await self._ask(message, "response_headers")

    async def whole(self, body: bytes) -> Deliver | Refuse:
        await self._write(pb.ProcessingRequest(response_body=pb.HttpBody(body=body, end_of_stream=True)))
        message = await self._read()
        answer = _refusal(message) or _delivered(message, body)
        await self._ended()
        return answer

    async def stream(self, chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
        """Chunks are written without waiting, as Envoy does; without an end, all of them must come back."""
        ends = not chunks[-1]
        writing = asyncio.create_task(self._write_all(chunks))
        came, sent = 0, sum(map(len, chunks))
        while ends or came < sent:
            streamed = (await self._read()).response_body.response.body_mutation.streamed_response
            came += len(streamed.body)
            yield streamed.body
            if streamed.end_of_stream:
                await writing
                await self._ended()
                return
        await writing

    async def hang_up(self) -> None:
        """Envoy resets the stream."""
        closed = len(self._site.decisions) + 1
        self._call.cancel()
        await until(lambda: len(self._site.decisions) == closed, "the exchange to be closed")

    async def log(self, entry: Finished) -> None:
        """Envoy logs those requests that have metadata of ours."""
        if not entry.metadata:
            return
        log: Any = self._channel.stream_unary(access_log.METHOD)
        await log(iter([_entry(entry).SerializeToString()]), timeout=WAIT)

    async def _ask(self, message: pb.ProcessingRequest, part: str) -> Proceed | Refuse:
        await self._write(message)
        response = await self._read()
        if (refusal := _refusal(response)) is not None:
            await self._ended()
            return refusal
        assert response.WhichOneof("response") == part, response
        last = part != "response_headers" and await self._is_over()
        answer = _proceeding(response, getattr(response, part).response, last=last)
        if part == "response_headers" and answer.read is None:
            await self._ended()
        return answer

    async def _is_over(self) -> bool:
        """Whether the service closes the stream after its answer; then it must do so cleanly, and by itself."""
        if not self._opened.latest.finished:
            return False
        assert await self._call.code() is grpc.StatusCode.OK, await self._call.details()
        return True

    async def _write(self, message: pb.ProcessingRequest) -> None:
        await self._call.write(message.SerializeToString())

    async def _write_all(self, chunks: Sequence[bytes]) -> None:
        for index, chunk in enumerate(chunks):
            end = not chunk and index == len(chunks) - 1
            await self._write(pb.ProcessingRequest(response_body=pb.HttpBody(body=chunk, end_of_stream=end)))

    async def _read(self) -> pb.ProcessingResponse:
        data = await self._call.read()
        assert data is not grpc.aio.EOF, f"the service ended the stream: {await self._call.details()}"
        return pb.ProcessingResponse.FromString(data)

    async def _ended(self) -> None:
        """The stream ends cleanly, at the service's hand or at Envoy's."""
        await self._call.done_writing()
        assert await self._call.code() is grpc.StatusCode.OK, await self._call.details()


def _headers(headers: Headers, end: bool) -> pb.HttpHeaders:
    pairs = [pb.HeaderValue(key=name, raw_value=value.encode("utf-8", "surrogateescape")) for name, value in headers]
    return pb.HttpHeaders(headers=pb.HeaderMap(headers=pairs), end_of_stream=end)


def _refusal(message: pb.ProcessingResponse) -> Refuse | None:
    if not message.HasField("immediate_response"):
        return None
    reply = message.immediate_response
    return Refuse(reply.status.code, _values(reply.headers.set_headers), reply.body, reply.details)


def _values(options: Iterable[pb.HeaderValueOption]) -> Mapping[str, str]:
    """Envoy appends unless it is told to overwrite."""
    assert all(option.append_action == pb.OVERWRITE_IF_EXISTS_OR_ADD for option in options)
    return {option.header.key: option.header.raw_value.decode() for option in options}


def _edits(common: pb.CommonResponse) -> Edits:
    mutation = common.header_mutation
    return Edits(_values(mutation.set_headers), tuple(mutation.remove_headers), reroute=common.clear_route_cache)


def _proceeding(message: pb.ProcessingResponse, common: pb.CommonResponse, *, last: bool) -> Proceed:
    body = common.body_mutation.body if common.HasField("body_mutation") else None
    metadata: dict[str, Any] = {}
    if message.HasField("dynamic_metadata"):
        metadata.update(message.dynamic_metadata.fields[NAMESPACE].struct_value.items())
    return Proceed(_edits(common), body, metadata, READINGS[message.mode_override.response_body_mode], last)


def _delivered(message: pb.ProcessingResponse, body: bytes) -> Deliver:
    common = message.response_body.response
    changed = common.body_mutation.body if common.HasField("body_mutation") else body
    return Deliver(changed, end=True, headers=_edits(common))


def _entry(entry: Finished) -> log_pb.StreamAccessLogsMessage:
    message = log_pb.StreamAccessLogsMessage()
    logged = message.http_logs.log_entry.add()
    logged.response.response_code.value = entry.status
    common = logged.common_properties
    for namespace, values in ((NAMESPACE, entry.metadata), (USAGE_NAMESPACE, entry.usage)):
        struct = Struct()
        struct.update(dict(values))
        common.metadata.filter_metadata[namespace].CopyFrom(struct)
    if entry.reached_upstream:
        common.time_to_first_upstream_tx_byte.FromMilliseconds(1)
    return message
