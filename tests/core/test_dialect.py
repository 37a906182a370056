"""Errors, parsed by the SDKs that callers use."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from headrace.ext_proc.core.dialect import error_body, error_event, error_headers
from headrace.ext_proc.core.endpoint import Dialect
from headrace.ext_proc.core.verdict import Reply

MESSAGE = "The budget 'day' is spent."
OPENAI = [
    (400, openai.BadRequestError, "invalid_request_error"),
    (401, openai.AuthenticationError, "authentication_error"),
    (403, openai.PermissionDeniedError, "permission_error"),
    (404, openai.NotFoundError, "not_found_error"),
    (413, openai.APIStatusError, "invalid_request_error"),
    (415, openai.APIStatusError, "invalid_request_error"),
    (429, openai.RateLimitError, "rate_limit_error"),
    (502, openai.InternalServerError, "server_error"),
    (503, openai.InternalServerError, "server_error"),
]
ANTHROPIC = [
    (400, anthropic.BadRequestError, "invalid_request_error"),
    (401, anthropic.AuthenticationError, "authentication_error"),
    (403, anthropic.PermissionDeniedError, "permission_error"),
    (404, anthropic.NotFoundError, "not_found_error"),
    (413, anthropic.APIStatusError, "request_too_large"),
    (415, anthropic.APIStatusError, "invalid_request_error"),
    (429, anthropic.RateLimitError, "rate_limit_error"),
    (502, anthropic.InternalServerError, "api_error"),
    (503, anthropic.InternalServerError, "overloaded_error"),
]


def reply(status: int = 429, **members: Any) -> Reply:
    return Reply(status, "budget.exhausted", MESSAGE, **members)


class Upstream(httpx2.BaseTransport):
    """Answers every request alike, and counts them."""

    def __init__(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.asked = 0
        self._answer = (status, headers, content)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked += 1
        status, headers, content = self._answer
        return httpx2.Response(status, headers=headers, content=content)


def refusing(dialect: Dialect, refusal: Reply) -> Upstream:
    return Upstream(refusal.status, dict(error_headers(refusal, dialect, "e1")), error_body(refusal, dialect, "e1"))


def openai_client(upstream: httpx2.BaseTransport) -> openai.OpenAI:
    return openai.OpenAI(api_key="k", base_url="http://g/v1", http_client=httpx2.Client(transport=upstream))


def anthropic_client(upstream: httpx2.BaseTransport) -> anthropic.Anthropic:
    return anthropic.Anthropic(api_key="k", base_url="http://g", http_client=httpx2.Client(transport=upstream))


def chat(upstream: httpx2.BaseTransport) -> Any:
    with openai_client(upstream) as client:
        return client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])


def message(upstream: httpx2.BaseTransport) -> Any:
    with anthropic_client(upstream) as client:
        return client.messages.create(model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}])


@pytest.mark.parametrize(("status", "kind", "type_"), OPENAI)
def test_the_openai_sdk_raises_the_error_of_the_status_with_our_code(
    status: int, kind: type[openai.APIStatusError], type_: str
) -> None:
    with pytest.raises(kind) as raised:
        chat(refusing(Dialect.OPENAI, reply(status, param="model")))
    error = raised.value
    assert (error.status_code, error.code, error.type, error.param) == (status, "budget.exhausted", type_, "model")
    assert MESSAGE in error.message


@pytest.mark.parametrize(("status", "kind", "type_"), ANTHROPIC)
def test_the_anthropic_sdk_raises_the_error_of_the_status_with_our_code(
    status: int, kind: type[anthropic.APIStatusError], type_: str
) -> None:
    with pytest.raises(kind) as raised:
        message(refusing(Dialect.ANTHROPIC, reply(status)))
    assert raised.value.status_code == status
    assert raised.value.body == {
        "type": "error",
        "error": {"type": type_, "message": MESSAGE, "code": "budget.exhausted"},
        "request_id": "e1",
    }


@pytest.mark.parametrize("status", [429, 503])
def test_an_sdk_does_not_retry_where_waiting_does_not_help(status: int) -> None:
    upstream, other = refusing(Dialect.OPENAI, reply(status)), refusing(Dialect.ANTHROPIC, reply(status))
    with pytest.raises(openai.APIStatusError) as one:
        chat(upstream)
    with pytest.raises(anthropic.APIStatusError) as two:
        message(other)
    assert (upstream.asked, other.asked) == (1, 1)
    assert (one.value.request_id, two.value.request_id) == ("e1", "e1")


def test_where_waiting_helps_the_headers_say_how_long() -> None:
    assert error_headers(reply(retry_after=30), Dialect.OPENAI, "e1")["retry-after"] == "30"
    assert error_headers(reply(retry_after=0), Dialect.OPENAI, "e1")["retry-after"] == "1"
    assert "x-should-retry" not in error_headers(reply(retry_after=30), Dialect.OPENAI, "e1")
    assert error_headers(reply(), Dialect.OPENAI, "e1")["x-should-retry"] == "false"


def test_every_refusal_names_its_exchange_and_reason() -> None:
    headers = error_headers(reply(headers={"x-a": "1"}), Dialect.OPENAI, "e1")
    assert (headers["x-headrace-exchange"], headers["x-headrace-reason"]) == ("e1", "budget.exhausted")
    assert (headers["content-type"], headers["x-a"]) == ("application/json", "1")


def test_a_message_that_quotes_half_a_surrogate_pair_is_escaped() -> None:
    refusal = Reply(400, "body.duplicate_key", "the key '\ud800' twice")
    body = error_body(refusal, Dialect.OPENAI, "e1")
    assert json.loads(body)["error"]["message"] == refusal.message
    assert error_event(refusal, Dialect.OPENAI, "e1").json["error"]["message"] == refusal.message


def streaming(first: bytes, dialect: Dialect) -> Upstream:
    content = first + error_event(reply(), dialect, "e1").raw
    return Upstream(200, {"content-type": "text/event-stream"}, content)


CHUNK = b'data: {"id": "a", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}]}\n\n'


def is_cut(stream: Iterator[Any], kind: type[Exception]) -> None:
    with pytest.raises(kind, match="budget 'day' is spent") as raised:
        for _ in stream:
            pass
    body = vars(raised.value)["body"]
    assert (body.get("error") or body)["code"] == "budget.exhausted"


def test_the_openai_sdk_raises_where_a_chat_stream_is_cut() -> None:
    with openai_client(streaming(CHUNK, Dialect.OPENAI)) as client:
        stream = client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        is_cut(iter(stream), openai.APIError)


def test_the_openai_sdk_raises_where_a_responses_stream_is_cut() -> None:
    first = b'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", "delta": "hi"}\n\n'
    with openai_client(streaming(first, Dialect.OPENAI)) as client:
        is_cut(iter(client.responses.create(model="m", input="x", stream=True)), openai.APIError)


def test_the_anthropic_sdk_raises_where_a_stream_is_cut() -> None:
    first = b'event: ping\ndata: {"type": "ping"}\n\n'
    with anthropic_client(streaming(first, Dialect.ANTHROPIC)) as client:
        messages: Any = [{"role": "user", "content": "x"}]
        is_cut(iter(client.messages.create(model="m", max_tokens=1, messages=messages, stream=True)), anthropic.APIError)
