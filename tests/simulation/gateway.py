"""Envoy, as far as the service meets it: what docs/architecture.md says of the real one, written down a second time.

A stream that ends cleanly means "go on without me", whenever that is; every other end of it is an error, and the caller's.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from headrace.ext_proc.envoy import processor
from headrace.ext_proc.envoy.codec import ATTRIBUTES, CODE_DETAILS, VIA_UPSTREAM
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.envoy.transport import Status
from tests.simulation.call import SimCall
from tests.simulation.entries import entry_of
from tests.simulation.story import Answered, Story

if TYPE_CHECKING:
    from tests.simulation.world import World

CAPABILITIES = {processor.CAPABILITIES: "access-log,mode-override"}
MESSAGE_TIMEOUT = 5.0
"""Seconds for one answer, as our own configuration has it."""
IDLE_TIMEOUT = 30.0
"""Seconds for one where nothing else limits it."""


class OwnReply(Exception):
    """The gateway answers by itself."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class TheirReply(Exception):
    """The service answers, instead of whatever would have come."""

    def __init__(self, reply: pb.ImmediateResponse) -> None:
        super().__init__(reply.status.code)
        self.reply = reply


class Carried:
    """One request on its way through the gateway. metadata: what the service returned under `headrace`."""

    def __init__(self, world: "World", story: Story) -> None:
        self.world = world
        self.story = story
        self.metadata: dict[str, str | float] = {}
        self.lane = world.chance.lane(f"x{story.number} way")
        self.began = world.loop.time()
        self._call: SimCall | None = None
        self._headers = dict(story.plan.headers)
        self._body = story.plan.body

    async def run(self) -> None:
        """Until the caller has its answer, or has hung up; the entry of the access log is written in any case."""
        try:
            await self._serve()
        except OwnReply as own:
            self._reply(own.status, {}, b"")
        except TheirReply as theirs:
            reply = theirs.reply
            headers = {pair.header.key: pair.header.raw_value.decode() for pair in reply.headers.set_headers}
            self.story.client.ours = True
            self._reply(reply.status.code, headers, reply.body)
        finally:
            self._over()

    def _reply(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        """Whole, where nothing has been said yet; else the connection ends here."""
        client = self.story.client
        if client.status == 0:
            client.status, client.headers, client.body, client.complete = status, dict(headers), bytearray(body), True

    def _over(self) -> None:
        call, story = self._call, self.story
        if call is not None and call.status is None:
            call.reset(politely=self.lane.happens(0.4, "reset politely"))
        self.world.truth.ended(story)
        self.world.logs.write(story, entry_of(self))

    # --- the request -------------------------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        self._call = self._opened()
        first = pb.ProcessingRequest(protocol_config=pb.ProtocolConfiguration(request_body_mode=pb.BUFFERED))
        _fill(first.request_headers, self._headers, end=not self._has_body)
        self._request(await self._asked(first))
        await self._wait(self.story.plan.upload_s)
        if self._has_body and not self._gone_well:
            body = pb.HttpBody(body=self._body, end_of_stream=True)
            self._request(await self._asked(pb.ProcessingRequest(request_body=body)))
        await self._forward()

    @property
    def _has_body(self) -> bool:
        return self.story.plan.kind != "other"

    @property
    def _gone_well(self) -> bool:
        """The service has ended the stream cleanly: it has no more interest. Raises OwnReply where it ended in any other way."""
        assert self._call is not None, "opened first"
        if self._call.status is None or self._call.unread:
            return False
        if self._call.status is not Status.OK:
            raise OwnReply(500)
        return True

    def _opened(self) -> SimCall:
        """Raises OwnReply where no worker is there."""
        worker = self.world.some_worker(self.lane)
        if worker is None:
            raise OwnReply(500)
        call = SimCall(CAPABILITIES)
        worker.serve(processor.METHOD, call, self.story)
        return call

    async def _asked(self, message: pb.ProcessingRequest, within: float = MESSAGE_TIMEOUT) -> pb.ProcessingResponse | None:
        """The service's answer; None where it ends the stream cleanly instead. Raises OwnReply and TheirReply."""
        assert self._call is not None, "opened first"
        if self._gone_well:
            return None
        self._call.send(message.SerializeToString())
        return await self._answer(within)

    async def _answer(self, within: float) -> pb.ProcessingResponse | None:
        """Raises OwnReply and TheirReply."""
        assert self._call is not None, "opened first"
        try:
            data = await self._call.next(within)
        except TimeoutError:
            raise OwnReply(504) from None
        if data is None:
            if self._call.status is not Status.OK:
                raise OwnReply(500)
            return None
        answer = pb.ProcessingResponse.FromString(data)
        if answer.HasField("immediate_response"):
            raise TheirReply(answer.immediate_response)
        self._note(answer)
        return answer

    def _note(self, answer: pb.ProcessingResponse) -> None:
        if "headrace" in answer.dynamic_metadata.fields:
            for name, value in answer.dynamic_metadata.fields["headrace"].struct_value.fields.items():
                self.metadata[name] = value.string_value or value.number_value
        self.story.settle = str(self.metadata.get("settle", self.story.settle))

    def _request(self, answer: pb.ProcessingResponse | None) -> None:
        """Changes the request as the answer says."""
        if answer is None:
            return
        part = answer.request_body if answer.HasField("request_body") else answer.request_headers
        common = part.response
        for name in common.header_mutation.remove_headers:
            self._headers.pop(name, None)
        for option in common.header_mutation.set_headers:
            self._headers[option.header.key] = option.header.raw_value.decode()
        if common.HasField("body_mutation"):
            self._body = common.body_mutation.body

    # --- the upstream ------------------------------------------------------------------------------------------------------

    async def _forward(self) -> None:
        story = self.story
        story.forwarded = True
        self.world.truth.forwarded(story, self._headers, self._body)
        if self.lane.happens(story.weather.upstreams / 2, "no connection"):
            await self._local(503)
            return
        story.reached = True
        await self._wait(self.lane.ms(40, 0.8, "the upstream thinks"))
        if self.lane.happens(story.weather.upstreams / 4, "the upstream is silent"):
            await self._wait(15)
            await self._local(504)
            return
        story.answered = answered = self.world.upstream.answer(story, self._body, self.world.chance.lane(f"x{story.number} answer"))
        if not self._gone_well:
            await self._read_here(answered)
        else:
            await self._relayed(answered)

    async def _local(self, status: int) -> None:
        """The gateway's own answer passes by the service, where that is interested. Raises OwnReply."""
        if not self._gone_well:
            head = _head(Answered(status, "text/plain", [], None, 0), "upstream_reset_before_response_started")
            await self._asked(head)
        raise OwnReply(status)

    # --- the answer --------------------------------------------------------------------------------------------------------

    async def _read_here(self, answered: Answered) -> None:
        reply = await self._asked(_head(answered, VIA_UPSTREAM))
        mode = pb.NONE if reply is None else reply.mode_override.response_body_mode
        self.story.read_here = mode != pb.NONE
        if mode == pb.BUFFERED:
            await self._whole(answered)
        elif mode == pb.FULL_DUPLEX_STREAMED:
            await self._streamed(answered)
        else:
            await self._relayed(answered)

    async def _relayed(self, answered: Answered) -> None:
        """As it comes; nobody of the service reads it."""
        self._head_out(answered)
        for chunk in answered.chunks:
            await self._wait(self.lane.ms(30, 0.3, "a chunk takes"))
            self.story.seen_bytes += len(chunk)
            self.story.client.body += chunk
        self.story.client.complete = not answered.dies

    def _head_out(self, answered: Answered) -> None:
        self.story.client.status = answered.status
        self.story.client.headers["content-type"] = answered.content_type

    async def _whole(self, answered: Answered) -> None:
        """Collected here, and changed whole."""
        for chunk in answered.chunks:
            await self._wait(self.lane.ms(30, 0.1, "a chunk takes"))
            self.story.seen_bytes += len(chunk)
        if answered.dies:
            raise OwnReply(502)
        body = b"".join(answered.chunks)
        reply = await self._asked(pb.ProcessingRequest(response_body=pb.HttpBody(body=body, end_of_stream=True)))
        if reply is not None and reply.response_body.response.HasField("body_mutation"):
            body = reply.response_body.response.body_mutation.body
        self._head_out(answered)
        self.story.client.body += body
        self.story.client.complete = True

    async def _streamed(self, answered: Answered) -> None:
        """Each chunk goes to the service, and what comes back goes to the caller, in two directions at once."""
        self._head_out(answered)
        sending = self.world.loop.create_task(self._chunks_out(answered))
        try:
            await self._chunks_in(answered)
        finally:
            sending.cancel()

    async def _chunks_out(self, answered: Answered) -> None:
        assert self._call is not None, "opened first"
        for index, chunk in enumerate(answered.chunks):
            await self._wait(self.lane.ms(30, 0.2, "a chunk takes"))
            end = index == len(answered.chunks) - 1 and not answered.dies
            self.story.seen_bytes += len(chunk)
            self._call.send(pb.ProcessingRequest(response_body=pb.HttpBody(body=chunk, end_of_stream=end)).SerializeToString())
        if answered.dies:
            self._call.reset(politely=self.lane.happens(0.5, "reset politely"))

    async def _chunks_in(self, answered: Answered) -> None:
        """Raises OwnReply where the stream ends before its end."""
        assert self._call is not None, "opened first"
        while True:
            message = await self._answer(IDLE_TIMEOUT)
            if message is None:
                await self._fail_open(answered)
                return
            streamed = message.response_body.response.body_mutation.streamed_response
            self.story.client.body += streamed.body
            if streamed.end_of_stream:
                self.story.client.complete = True
                self._call.end()
                return

    async def _fail_open(self, answered: Answered) -> None:
        """The service has left in the middle of an answer: all that is still to come passes as it is."""
        self.story.client.body += b"".join(answered.chunks)
        self.story.client.complete = True

    async def _wait(self, seconds: float) -> None:
        if seconds:
            await self.world.loop.sleep(seconds)


def _fill(head: pb.HttpHeaders, headers: Mapping[str, str], *, end: bool = False) -> None:
    for name, value in headers.items():
        head.headers.headers.add(key=name, raw_value=value.encode())
    head.end_of_stream = end


def _head(answered: Answered, details: str) -> pb.ProcessingRequest:
    message = pb.ProcessingRequest()
    _fill(message.response_headers, {":status": str(answered.status), "content-type": answered.content_type})
    message.attributes[ATTRIBUTES].fields[CODE_DETAILS].string_value = details
    return message
