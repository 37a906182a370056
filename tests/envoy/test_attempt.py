"""One attempt at one upstream: its credential and nobody else's, its path, its model, its dialect, and what it asks of Envoy."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from headrace.ext_proc.core.candidates import Candidate, candidates_metadata
from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.endpoint import Dialect
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.engine.policy.destinations import Destination
from headrace.ext_proc.envoy.attempt import Attempts, AttemptStream, UnknownUpstream
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from tests.envoy.sent import answer_body, answer_head, headers_set, kinds, request_body, request_head, streamed

PATH = "/v1/chat/completions?a=b"
ASKED = {"model": "llama", "messages": [{"role": "user", "content": "hi"}]}
GPU = Destination("gpu")
CLOUD = Destination("cloud", "/serving", Dialect.OPENAI, "sk-cloud")
CLAUDE = Destination("claude", "", Dialect.ANTHROPIC, "sk-claude")
ADMITTED = {
    **candidates_metadata([Candidate("gpu", "llama"), Candidate("cloud", "cheap"), Candidate("claude", "llama")]),
    "path": PATH,
    "asked": "llama",
    "settle": "access_log",
}


class Conversation:
    """Envoy's side of one attempt."""

    def __init__(self, destination: Destination) -> None:
        self.closed = 0
        self.stream = AttemptStream(destination, self._finish, lambda: 7000)

    def _finish(self) -> None:
        self.closed += 1

    async def say(self, message: pb.ProcessingRequest) -> list[pb.ProcessingResponse]:
        return [pb.ProcessingResponse.FromString(data) for data in await self.stream.receive(message.SerializeToString())]

    async def head(
        self, told: Mapping[str, Any] | None = ADMITTED, path: str = PATH, **headers: Any
    ) -> tuple[pb.ProcessingResponse, Mapping[str, str], list[str]]:
        """The answer to the request's headers, what it sets, and what it removes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        [answer] = await self.say(request_head({":path": path, **named}, told))
        mutation = answer.request_headers.response.header_mutation
        return answer, headers_set(mutation), list(mutation.remove_headers)


async def test_the_first_upstream_gets_the_request_as_it_is() -> None:
    talk = Conversation(GPU)
    answer, said, removed = await talk.head()
    assert (said, removed) == ({":path": PATH}, [])
    assert not answer.HasField("mode_override")
    assert talk.stream.finished


async def test_a_credential_is_the_upstreams_own_and_nobody_elses() -> None:
    callers: dict[str, Any] = {"authorization": "Bearer caller", "x_api_key": "caller", "cookie": "a=b", "accept": "*/*"}
    _, said, removed = await Conversation(CLOUD).head(**callers)
    assert said["authorization"] == "Bearer sk-cloud"
    assert sorted(removed) == ["cookie", "x-api-key"]
    _, said, removed = await Conversation(CLAUDE).head(**callers)
    assert (said["x-api-key"], said["anthropic-version"]) == ("sk-claude", "2023-06-01")
    assert sorted(removed) == ["authorization", "cookie"]
    _, said, removed = await Conversation(GPU).head(**callers)
    assert sorted(removed) == ["authorization", "cookie", "x-api-key"]
    assert not set(said) & {"authorization", "x-api-key"}


async def test_a_callers_version_of_anthropics_api_stays() -> None:
    _, said, removed = await Conversation(CLAUDE).head(anthropic_version="2024-01-01")
    assert "anthropic-version" not in said
    assert "anthropic-version" not in removed


@pytest.mark.parametrize("told", [None, {}, {"path": "/v1/files"}])
async def test_what_was_not_admitted_gets_no_credential(told: Mapping[str, Any] | None) -> None:
    talk = Conversation(CLOUD)
    _, said, removed = await talk.head(told, "/v1/files", authorization="Bearer caller")
    assert (said, removed) == ({":path": "/serving/v1/files"}, [])
    assert talk.stream.finished


async def test_the_path_is_the_callers_under_the_upstreams_prefix_whatever_the_attempt_before_left() -> None:
    _, said, _ = await Conversation(CLOUD).head(path="/other/prefix/v1/chat/completions")
    assert said[":path"] == f"/serving{PATH}"


async def test_another_model_is_written_into_the_body_with_its_length() -> None:
    talk = Conversation(CLOUD)
    answer, _, _ = await talk.head()
    assert answer.mode_override.request_body_mode == pb.BUFFERED
    assert not talk.stream.finished
    [rewritten] = await talk.say(request_body(json.dumps(ASKED).encode()))
    common = rewritten.request_body.response
    assert json.loads(common.body_mutation.body) == ASKED | {"model": "cheap"}
    assert headers_set(common.header_mutation)["content-length"] == str(len(common.body_mutation.body))
    assert talk.stream.finished


async def test_the_model_of_an_attempt_is_the_deployment_of_its_path() -> None:
    azure = "/openai/deployments/llama/chat/completions?api-version=1"
    _, said, _ = await Conversation(CLOUD).head({**ADMITTED, "path": azure}, azure)
    assert said[":path"] == "/serving/openai/deployments/cheap/chat/completions?api-version=1"


async def test_after_another_attempt_the_length_is_set_anew() -> None:
    """That one may have left the length of its own body in the headers, which all attempts share."""
    third = Destination("claude")  # serves what was asked for
    talk = Conversation(third)
    answer, _, _ = await talk.head()
    assert answer.mode_override.request_body_mode == pb.BUFFERED
    raw = b'{ "model": "llama" }'
    [same] = await talk.say(request_body(raw))
    assert same.request_body.response.body_mutation.body == raw
    assert headers_set(same.request_body.response.header_mutation) == {"content-length": str(len(raw))}


async def test_another_dialect_has_another_path_and_another_body_and_its_answer_is_translated_back() -> None:
    talk = Conversation(CLAUDE)
    answer, said, _ = await talk.head()
    assert said[":path"] == "/v1/messages"
    assert answer.mode_override.response_body_mode == pb.FULL_DUPLEX_STREAMED
    [asked] = await talk.say(request_body(json.dumps(ASKED).encode()))
    assert json.loads(asked.request_body.response.body_mutation.body)["max_tokens"] > 0
    await talk.say(answer_head(content_type="application/json"))
    whole = {"id": "m", "model": "c", "content": [{"type": "text", "text": "yes"}], "stop_reason": "end_turn", "usage": {}}
    last = await talk.say(answer_body(json.dumps(whole).encode(), end=True))
    document = json.loads(streamed(last)[0])
    assert (document["choices"][0]["message"]["content"], document["created"]) == ("yes", 7)
    assert talk.stream.over


async def test_what_the_other_api_has_not_is_refused_in_the_callers_dialect() -> None:
    talk = Conversation(CLAUDE)
    await talk.head({**ADMITTED, "exchange": "hx1"})
    [refused] = await talk.say(request_body(json.dumps({**ASKED, "n": 2}).encode()))
    reply = refused.immediate_response
    assert reply.status.code == 400
    headers = headers_set(reply.headers)
    assert (headers["x-headrace-reason"], headers["x-headrace-exchange"]) == ("translate.unavailable", "hx1")
    assert headers["x-should-retry"] == "false"
    assert json.loads(reply.body)["error"]["code"] == "translate.unavailable"
    assert talk.stream.finished


async def test_a_refusal_of_anthropics_callers_names_the_exchange() -> None:
    path = "/v1/messages"
    talk = Conversation(CLOUD)
    await talk.head({**ADMITTED, "path": path, "exchange": "hx1"}, path)
    [refused] = await talk.say(request_body(json.dumps({**ASKED, "container": "c"}).encode()))
    document = json.loads(refused.immediate_response.body)
    assert (document["error"]["code"], document["request_id"]) == ("translate.unavailable", "hx1")


async def test_a_first_token_that_may_be_late_is_watched() -> None:
    told = {**ADMITTED, "first_token_ms": 300}
    talk = Conversation(GPU)
    answer, _, _ = await talk.head(told)
    modes = answer.mode_override
    assert (modes.request_body_mode, modes.response_body_mode) == (pb.NONE, pb.FULL_DUPLEX_STREAMED)
    assert (modes.response_header_mode, modes.response_trailer_mode) == (pb.SEND, pb.SEND)
    assert await talk.say(answer_head()) == []
    assert kinds(await talk.say(answer_body(b"data: 1\n\n", end=True))) == ["response_headers", "response_body"]
    assert talk.stream.over


@pytest.mark.parametrize("message", [answer_head(), answer_body(b""), pb.ProcessingRequest()])
async def test_what_an_attempt_did_not_ask_for_is_an_error(message: pb.ProcessingRequest) -> None:
    talk = Conversation(GPU)
    await talk.head()
    with pytest.raises(ProtocolError, match="does not ask for"):
        await talk.say(message)


async def test_bytes_that_are_no_message_are_an_error() -> None:
    with pytest.raises(ProtocolError, match="no ProcessingRequest"):
        await Conversation(GPU).stream.receive(b"\xff")


@pytest.mark.parametrize("candidates", ["", "[[]]", "5", '[["cloud"]]'])
async def test_candidates_that_are_none_of_ours_change_nothing(candidates: str) -> None:
    talk = Conversation(CLOUD)
    answer, _, _ = await talk.head({**ADMITTED, "candidates": candidates})
    assert not answer.HasField("mode_override")


def test_an_upstream_that_the_policy_does_not_have_is_no_attempt() -> None:
    with pytest.raises(UnknownUpstream, match="no upstream 'gone' in the policy; render Envoy's configuration anew"):
        Attempts(lambda: {"gpu": GPU}).open("gone", lambda: None)


def test_an_attempt_says_once_that_it_is_closed() -> None:
    talk = Conversation(GPU)
    talk.stream.close(Cause.ABORTED)
    assert talk.closed == 1
