"""One stream per request: which modes are taken, when it is over, and that its effects come once."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.ext_proc.core.effects import Cause, Effect
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.events import Reading
from headrace.ext_proc.core.needs import Capability, Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.verdict import Verdict
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.envoy.processor import (
    ANSWER_WITHIN,
    CAPABILITIES,
    LONGEST_ANSWER,
    ModeError,
    Processor,
    ProcessStream,
    answer_within,
)
from tests.envoy.messages import messages
from tests.kit import CHAT, DENIED, ScriptedFilter, body, decision_in, filter_of, policy_of

ALL = "access-log,mode-override"
READS = Needs.REQUEST_BODY | Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM


class Service:
    """A processor over a chain, and the effects it submitted."""

    def __init__(self, *filters: ScriptedFilter) -> None:
        self.effects: list[Sequence[Effect]] = []
        self.processor = Processor(lambda: policy_of(*filters), lambda: "e1", self.effects.append, lambda: 7)

    def open(self, words: str = ALL) -> ProcessStream:
        stream = self.processor.open({CAPABILITIES: words})
        assert isinstance(stream, ProcessStream)
        return stream


def headers(path: str = "/v1/chat/completions", **config: Any) -> bytes:
    pairs = [(":method", "POST"), (":path", path)]
    message = pb.ProcessingRequest(
        request_headers=pb.HttpHeaders(
            headers=pb.HeaderMap(headers=[pb.HeaderValue(key=name, raw_value=value.encode()) for name, value in pairs])
        )
    )
    modes = {"request_body_mode": pb.BUFFERED} | config
    if modes.pop("absent", None) is None:
        message.protocol_config.CopyFrom(pb.ProtocolConfiguration(**modes))
    return message.SerializeToString()


def prompt() -> bytes:
    return pb.ProcessingRequest(request_body=pb.HttpBody(body=body(CHAT).data, end_of_stream=True)).SerializeToString()


def answer_headers(content_type: str) -> bytes:
    pairs = [(":status", "200"), ("content-type", content_type)]
    values = [pb.HeaderValue(key=name, raw_value=value.encode()) for name, value in pairs]
    message = pb.ProcessingRequest(response_headers=pb.HttpHeaders(headers=pb.HeaderMap(headers=values)))
    return message.SerializeToString()


def chunk(data: bytes, *, end: bool = False) -> bytes:
    return pb.ProcessingRequest(response_body=pb.HttpBody(body=data, end_of_stream=end)).SerializeToString()


WRONG_MODES = [
    ({"absent": True}, "Envoy 1.34"),
    ({"request_body_mode": pb.NONE}, "request_body_mode must be BUFFERED"),
    ({"request_body_mode": pb.STREAMED}, "request_body_mode must be BUFFERED"),
    ({"request_body_mode": pb.FULL_DUPLEX_STREAMED}, "request_body_mode must be BUFFERED"),
    ({"response_body_mode": pb.FULL_DUPLEX_STREAMED}, "response_body_mode must be NONE"),
    ({"response_body_mode": pb.BUFFERED}, "response_body_mode must be NONE"),
]


@pytest.mark.parametrize(("config", "words"), WRONG_MODES)
async def test_a_mode_that_lets_bodies_pass_unseen_is_refused_where_a_body_matters(config: dict[str, Any], words: str) -> None:
    stream = Service(filter_of(needs=Needs.REQUEST_BODY)).open()
    with pytest.raises(ModeError, match=words):
        await stream.receive(headers(**config))
    assert not stream.finished


async def test_observability_mode_is_refused() -> None:
    message = pb.ProcessingRequest.FromString(headers())
    message.observability_mode = True
    with pytest.raises(ModeError, match="observability_mode"):
        await Service(filter_of(needs=Needs.REQUEST_BODY)).open().receive(message.SerializeToString())


@pytest.mark.parametrize("config", [config for config, _ in WRONG_MODES])
async def test_any_mode_will_do_for_a_request_that_nobody_reads(config: dict[str, Any]) -> None:
    stream = Service(filter_of()).open()
    assert len(await stream.receive(headers("/v1/models", **config))) == 1
    assert stream.finished


async def test_a_gateway_that_does_not_offer_the_answer_is_refused_where_a_filter_must_read_it() -> None:
    filter = filter_of(needs=READS)
    stream = Service(filter).open("access-log")
    await stream.receive(headers())
    with pytest.raises(ModeError, match="does not give it"):
        await stream.receive(prompt())
    assert not stream.finished
    stream.close(Cause.FAILED)
    (outcome,) = filter.sessions[0].outcomes
    assert not outcome.forwarded  # so that nothing is charged for it


async def test_it_is_not_needed_where_no_filter_reads_the_answer() -> None:
    stream = Service(filter_of(needs=Needs.REQUEST_BODY)).open("")
    await stream.receive(headers())
    await stream.receive(prompt())
    assert stream.finished


@pytest.mark.parametrize(
    ("words", "capability"),
    [
        (ALL, Capability.ACCESS_LOG),
        ("x,access-log", Capability.ACCESS_LOG),
        ("", Capability.NOTHING),
        ("access", Capability.NOTHING),
    ],
)
async def test_what_the_gateway_does_by_itself_is_read_from_its_words(words: str, capability: Capability) -> None:
    seen: list[Capability] = []

    def opens(request: Request) -> bool:
        seen.append(request.capabilities)
        return True

    await Service(filter_of(open=opens)).open(words).receive(headers())
    assert seen == [capability]


async def test_a_gateway_that_says_nothing_of_itself_can_nothing() -> None:
    service = Service(filter_of(needs=READS))
    stream = service.processor.open({})
    await stream.receive(headers())
    with pytest.raises(ModeError):
        await stream.receive(prompt())


# --- when it is finished --------------------------------------------------------------------------------------------------------


async def test_a_stream_is_finished_when_the_engine_says_last_and_not_before() -> None:
    stream = Service(filter_of(needs=Needs.REQUEST_BODY)).open()
    assert not stream.finished
    await stream.receive(headers())
    assert (stream.finished, stream.over) == (False, False)
    await stream.receive(prompt())
    assert (stream.finished, stream.over) == (True, True)


async def test_a_stream_is_finished_when_the_caller_was_refused() -> None:
    stream = Service(filter_of(on_headers=DENIED)).open()
    (data,) = await stream.receive(headers())
    assert pb.ProcessingResponse.FromString(data).HasField("immediate_response")
    assert stream.finished


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
async def test_an_answer_that_is_read_ends_the_exchange_and_the_proxy_ends_the_stream(content_type: str) -> None:
    stream = Service(filter_of(needs=READS)).open()
    await stream.receive(headers())
    await stream.receive(prompt())
    (asked,) = await stream.receive(answer_headers(content_type))
    reading = Reading.WHOLE if "json" in content_type else Reading.STREAM
    mode = pb.ProcessingResponse.FromString(asked).mode_override.response_body_mode
    assert mode == (pb.BUFFERED if reading is Reading.WHOLE else pb.FULL_DUPLEX_STREAMED)
    (out,) = await stream.receive(chunk(b"{}", end=True))
    response = pb.ProcessingResponse.FromString(out).response_body.response
    assert response.HasField("body_mutation") is (reading is Reading.STREAM)
    assert (stream.finished, stream.over) == (False, True)


async def test_a_stream_in_the_middle_of_an_answer_is_not_over() -> None:
    stream = Service(filter_of(needs=READS)).open()
    for message in (headers(), prompt(), answer_headers("text/event-stream"), chunk(b"data: x\n\n")):
        await stream.receive(message)
    assert (stream.finished, stream.over) == (False, False)


@pytest.mark.parametrize("data", [b"\xff\xff\xff", b"\x12\xff", bytes([0x22, 0x7F])])
async def test_bytes_that_are_no_message_are_an_error(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="no ProcessingRequest"):
        await Service().open().receive(data)


async def test_a_message_out_of_order_is_an_error() -> None:
    stream = Service(filter_of(needs=Needs.REQUEST_BODY)).open()
    await stream.receive(headers())
    with pytest.raises(ProtocolError, match="RequestHeaders came"):
        await stream.receive(headers())
    assert not stream.finished


# --- effects --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "cause", "outcome"),
    [([], Cause.ABORTED, "aborted"), ([headers()], Cause.FAILED, "failed"), ([headers(), prompt()], Cause.FAILED, "handed_off")],
)
async def test_effects_are_submitted_when_the_stream_closes(messages: list[bytes], cause: Cause, outcome: str) -> None:
    service = Service(filter_of(needs=Needs.REQUEST_BODY))
    stream = service.open()
    assert service.processor.active == 1
    for message in messages:
        await stream.receive(message)
    assert service.effects == []
    stream.close(cause)
    (effects,) = service.effects
    assert decision_in(effects)["outcome"] == outcome
    assert service.processor.active == 0


async def test_a_stream_keeps_the_policy_it_began_with() -> None:
    policies = [policy_of(filter_of(needs=Needs.REQUEST_BODY)), policy_of(filter_of(on_headers=DENIED))]
    processor = Processor(lambda: policies[0], lambda: "e1", lambda _: None)
    stream = processor.open({CAPABILITIES: ALL})
    policies.pop(0)
    await stream.receive(headers())
    await stream.receive(prompt())
    assert stream.finished


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (ALL, ANSWER_WITHIN),
        (f"{ALL},answer-within=27000", 27.0),
        ("answer-within=", ANSWER_WITHIN),
        ("answer-within=-1", ANSWER_WITHIN),
        ("answer-within=\u0663", ANSWER_WITHIN),
        ("answer-within=99999999999", LONGEST_ANSWER),
    ],
)
def test_a_gateway_says_how_long_it_waits(words: str, seconds: float) -> None:
    assert answer_within(words.split(",")) == seconds


async def test_a_filter_has_no_longer_than_the_gateway_waits() -> None:
    async def forever(_: object) -> Verdict:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("nothing sets it")

    service = Service(filter_of(on_headers=forever))
    (answer,) = await service.open(f"{ALL},answer-within=1").receive(headers())
    assert pb.ProcessingResponse.FromString(answer).immediate_response.status.code == 503


# --- anything -------------------------------------------------------------------------------------------------------------------

ANYTHING = st.lists(
    messages(pb.ProcessingRequest).map(lambda message: message.SerializeToString())
    | st.binary(max_size=20)
    | st.sampled_from([headers(), prompt(), answer_headers("application/json"), answer_headers("text/event-stream"), chunk(b"x")]),
    max_size=6,
)


@given(ANYTHING)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_proxy_sends_is_answered_or_an_error_of_the_protocol(sent: list[bytes]) -> None:
    service = Service(filter_of(needs=READS))
    stream = service.open()
    asyncio.run(_until_error(stream, sent))
    stream.close(Cause.FAILED)
    assert len(service.effects) == 1
    assert service.processor.active == 0


async def _until_error(stream: ProcessStream, sent: list[bytes]) -> None:
    for data in sent:
        try:
            answers = await stream.receive(data)
        except (ProtocolError, ModeError):
            assert not stream.finished
            return
        assert not stream.finished or answers, "a clean end says what it ends with"
        if stream.finished:
            return
