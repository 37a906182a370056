"""Both transports over a Unix socket, with grpcio's client: how streams end, large messages, many at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import grpc.aio
import pytest

from headrace.ext_proc.core.effects import Effect, Settle
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Link, Policy
from headrace.ext_proc.core.verdict import PASS, Verdict
from headrace.ext_proc.envoy import access_log, health, processor
from headrace.ext_proc.envoy.access_log import AccessLog
from headrace.ext_proc.envoy.config.names import ANSWER_WITHIN
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.envoy.processor import CAPABILITIES, Processor
from headrace.ext_proc.envoy.services import methods
from headrace.ext_proc.envoy.transport import ListenError, Server, Transport, listen
from tests.e2e.envoy_process import short_directory
from tests.envoy.messages import accesslog
from tests.envoy.test_access_log import entry
from tests.envoy.test_processor import ALL, READS, answer_headers, chunk, headers, prompt
from tests.kit import DENIED, decision_in, filter_of, policy_of
from tests.transcripts.site import WAIT, until

WORDS = ((CAPABILITIES, f"{ALL},{ANSWER_WITHIN}{int(WAIT * 1000)}"),)
"""A busy machine may take its time."""
OK, CANCELLED, FAILED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.FAILED_PRECONDITION
MIB = 1024 * 1024
ENVOYS_LIMIT = 64 * 1024
"""Bytes of a streamed body message."""


@dataclass
class Running:
    """A server, a channel to it, and what its exchanges caused. policy: of the exchanges to come."""

    transport: Transport
    policy: Policy
    ready: bool = True
    effects: list[Sequence[Effect]] = field(default_factory=list)
    server: Server = field(init=False)
    channel: grpc.aio.Channel = field(init=False)

    def stream(self) -> Any:
        return self.channel.stream_stream(processor.METHOD)(metadata=WORDS, timeout=WAIT)

    async def outcomes(self, count: int) -> list[str]:
        """How the exchanges ended, once so many have."""
        await until(lambda: len(self.effects) >= count, f"{count} exchanges to end")
        return [decision_in(effects)["outcome"] for effects in self.effects]


Run = Callable[..., AbstractAsyncContextManager[Running]]


@pytest.fixture(params=list(Transport))
def running(request: pytest.FixtureRequest) -> Run:
    """Serves with one transport, and with the other: `async with running(*filters) as run`."""
    return partial(_running, request.param)


@asynccontextmanager
async def _running(transport: Transport, *filters: Any) -> AsyncIterator[Running]:
    run = Running(transport, policy_of(*filters))
    handler = Processor(lambda: run.policy, lambda: "e1", run.effects.append)
    with short_directory() as folder:
        address = f"unix:{folder}/w.sock"
        served = methods(handler, AccessLog(run.effects.append), Health(lambda: run.ready))
        run.server = listen(transport, served, address)
        await run.server.start()
        try:
            async with grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", -1)]) as run.channel:
                yield run
        finally:  # or a test that fails takes others with it: what grpc's server leaves behind does not know its loop is closed
            await run.server.stop(0)
        await until(lambda: handler.active == 0, "every stream to be closed")


async def tell(call: Any, *messages: bytes) -> list[pb.ProcessingResponse]:
    """The answers to messages, one for each."""
    answers = []
    for message in messages:
        await call.write(message)
        data = await call.read()
        assert data is not grpc.aio.EOF, await call.details()
        answers.append(pb.ProcessingResponse.FromString(data))
    return answers


READS_PROMPT = filter_of(needs=Needs.REQUEST_BODY)


async def test_the_last_answer_is_followed_by_a_clean_end(running: Run) -> None:
    async with running(READS_PROMPT) as run:
        call = run.stream()
        await tell(call, headers(), prompt())
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is OK
        assert await run.outcomes(1) == ["handed_off"]


async def test_a_refusal_is_followed_by_a_clean_end(running: Run) -> None:
    async with running(filter_of(on_headers=DENIED)) as run:
        call = run.stream()
        (answer,) = await tell(call, headers())
        assert answer.immediate_response.status.code == 403
        assert await call.code() is OK
        assert await run.outcomes(1) == ["refused"]


STEPS = [headers(), prompt(), answer_headers("text/event-stream")]


@pytest.mark.parametrize("count", range(len(STEPS) + 1))
async def test_a_proxy_that_ends_first_gets_no_clean_end(running: Run, count: int) -> None:
    async with running(filter_of(needs=READS)) as run:
        call = run.stream()
        await tell(call, *STEPS[:count])
        await call.done_writing()
        assert await call.code() is CANCELLED
        assert await run.outcomes(1) == ["aborted"]


async def test_a_proxy_that_ends_after_the_whole_answer_gets_a_clean_end(running: Run) -> None:
    async with running(filter_of(needs=READS)) as run:
        call = run.stream()
        await tell(call, headers(), prompt(), answer_headers("text/event-stream"), chunk(b"data: x\n\n", end=True))
        await call.done_writing()
        assert await call.code() is OK
        assert await run.outcomes(1) == ["completed"]


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_a_stream_that_is_reset_is_aborted_wherever_it_stands(running: Run, count: int) -> None:
    async with running(filter_of(needs=READS)) as run:
        call = run.stream()
        await tell(call, *[headers(), prompt(), answer_headers("text/event-stream")][:count])
        call.cancel()
        assert await run.outcomes(1) == ["aborted"]


async def test_a_stream_that_is_reset_while_a_filter_decides_is_aborted_and_its_session_closed(running: Run) -> None:
    deciding = asyncio.Event()

    async def never(_: Request) -> Verdict:
        deciding.set()
        await asyncio.Event().wait()
        return PASS

    filter = filter_of(on_headers=never)
    async with running(filter) as run:
        call = run.stream()
        await call.write(headers())
        await deciding.wait()
        call.cancel()
        assert await run.outcomes(1) == ["aborted"]
        assert len(filter.session.outcomes) == 1


ERRORS: list[tuple[list[bytes], str]] = [
    ([b"\xff\xff\xff"], "no ProcessingRequest"),
    ([headers(), b"\x12\xff"], "no ProcessingRequest"),
    ([b""], "an empty message"),
    ([headers(), headers()], "RequestHeaders came while awaiting the request body"),
    ([headers(response_body_mode=pb.FULL_DUPLEX_STREAMED)], "response_body_mode must be NONE"),
]


@pytest.mark.parametrize(("messages", "words"), ERRORS, ids=lambda value: value if isinstance(value, str) else "")
async def test_what_the_proxy_must_not_send_aborts_with_the_reason(running: Run, messages: list[bytes], words: str) -> None:
    async with running(READS_PROMPT) as run:
        call = run.stream()
        await tell(call, *messages[:-1])
        await call.write(messages[-1])
        assert await call.code() is FAILED
        assert words in await call.details()
        assert await run.outcomes(1) == ["failed"]


async def test_an_error_of_our_own_aborts_and_is_no_hang_up(running: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(processor, "step", broken)
    async with running(READS_PROMPT) as run:
        call = run.stream()
        await call.write(headers())
        assert await call.code() is not OK
        assert await run.outcomes(1) == ["failed"]


@pytest.mark.parametrize("size", [5 * MIB, 10 * MIB])
async def test_a_large_prompt_goes_through_in_one_message(running: Run, size: int) -> None:
    seen: list[int] = []

    def measure(request: Request) -> Verdict:
        seen.append(len(request.body))
        return PASS

    document = b'{"model": "m", "messages": [{"role": "user", "content": "%b"}]}' % (b"x" * size)
    async with running(filter_of(needs=Needs.REQUEST_BODY, on_request=measure)) as run:
        call = run.stream()
        message = pb.ProcessingRequest(request_body=pb.HttpBody(body=document, end_of_stream=True))
        await tell(call, headers(), message.SerializeToString())
        assert await call.code() is OK
        assert seen == [len(document)]


async def test_a_large_answer_goes_back_in_chunks_that_envoy_takes(running: Run) -> None:
    big = b"data: " + b"x" * MIB + b"\n\n"
    async with running(filter_of(needs=READS)) as run:
        call = run.stream()
        await tell(call, headers(), prompt(), answer_headers("text/event-stream"))
        await call.write(chunk(big, end=True))
        out, ended = b"", False
        while not ended:
            part = pb.ProcessingResponse.FromString(await call.read()).response_body.response.body_mutation.streamed_response
            out, ended = out + part.body, part.end_of_stream
            assert len(part.body) < ENVOYS_LIMIT
        assert out == big
        call.cancel()


async def test_two_hundred_streams_at_once_are_served_side_by_side(running: Run) -> None:
    waiting = 0
    everybody = asyncio.Event()

    async def together(_: Request) -> Verdict:
        nonlocal waiting
        waiting += 1
        if waiting == 200:
            everybody.set()
        await everybody.wait()
        return PASS

    patient = Link("together", filter_of(needs=Needs.REQUEST_BODY, on_request=together), timeout_ms=int(WAIT * 1000))
    async with running(patient) as run:

        async def one() -> grpc.StatusCode:
            call = run.stream()
            await tell(call, headers(), prompt())
            code: grpc.StatusCode = await call.code()
            return code

        assert set(await asyncio.gather(*(one() for _ in range(200)))) == {OK}
        assert await run.outcomes(200) == ["handed_off"] * 200


async def test_resets_at_any_moment_close_every_exchange_once(running: Run) -> None:
    async with running(filter_of(needs=READS)) as run:

        async def one(patience: int) -> None:
            call = run.stream()
            messages = [headers(), prompt(), answer_headers("text/event-stream"), *[chunk(b"data: x\n\n")] * 50]
            writing = asyncio.create_task(_write(call, messages))
            for _ in range(patience):
                await asyncio.sleep(0)
            call.cancel()
            writing.cancel()  # grpc.aio's client waits for ever where it was cancelled before its headers were sent
            await asyncio.gather(writing, return_exceptions=True)

        await asyncio.gather(*(one(patience) for patience in range(0, 400, 4)))
        await run.server.stop(WAIT)
    assert {decision_in(effects)["outcome"] for effects in run.effects} == {"aborted"}


async def _write(call: Any, messages: Sequence[bytes]) -> None:
    for message in messages:
        await call.write(message)


async def test_a_server_that_stops_lets_open_streams_go_on_within_its_grace(running: Run) -> None:
    async with running(READS_PROMPT) as run:
        call = run.stream()
        await tell(call, headers())
        stopping = asyncio.create_task(run.server.stop(WAIT))
        await tell(call, prompt())
        assert await call.code() is OK
        await stopping


# --- the access log, health, and everything else ------------------------------------------------------------------------------


def log_message(*entries: Any) -> bytes:
    logs = accesslog.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=list(entries))
    return bytes(accesslog.StreamAccessLogsMessage(http_logs=logs))


def logging_call(run: Running) -> Any:
    return run.channel.stream_unary(access_log.METHOD)(timeout=WAIT)


async def test_the_access_log_stays_open_and_settles_as_entries_come(running: Run) -> None:
    async with running() as run:
        call = logging_call(run)
        await call.write(log_message(entry()))
        await until(lambda: len(run.effects) == 1, "the first entry to be settled")
        await call.write(log_message(entry(), entry()))
        await until(lambda: len(run.effects) == 3, "the others to be settled")
        await call.done_writing()
        assert await call == b""
        assert all(isinstance(effect, Settle) for effects in run.effects for effect in effects)


async def test_bytes_that_are_no_log_end_the_log_alone(running: Run) -> None:
    async with running(READS_PROMPT) as run:
        call, other = logging_call(run), run.stream()
        await tell(other, headers())
        await call.write(b"\x12\xff")
        assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
        await tell(other, prompt())
        assert await other.code() is OK


@pytest.mark.parametrize(("ready", "answer"), [(True, b"\x08\x01"), (False, b"\x08\x02")])
async def test_health(running: Run, ready: bool, answer: bytes) -> None:
    async with running() as run:
        run.ready = ready
        check: Callable[..., Any] = run.channel.unary_unary(health.METHOD)
        assert await check(b"", timeout=WAIT) == answer


async def test_other_methods_are_not_there(running: Run) -> None:
    async with running() as run:
        other: Callable[..., Any] = run.channel.unary_unary("/headrace/Other")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await other(b"", timeout=WAIT)
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("transport", Transport)
async def test_a_free_port_is_taken_where_none_is_named(transport: Transport) -> None:
    server = listen(transport, {}, "127.0.0.1:0")
    assert server.port > 0
    await server.start()
    await server.stop(0)


@pytest.mark.parametrize("transport", Transport)
async def test_an_address_that_cannot_be_listened_on_is_said(transport: Transport) -> None:
    with pytest.raises(ListenError, match=r"cannot listen on unix:/nowhere/w\.sock"):
        listen(transport, {}, "unix:/nowhere/w.sock")
