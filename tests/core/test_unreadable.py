"""Requests that cannot be read, or are not to be: refused before any filter sees them, unless nobody reads them."""

import json

import pytest
from msgspec.structs import replace

from headrace.ext_proc.core.events import Refuse, RequestBody
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.unreadable import MAX_HEADERS
from tests.kit import (
    DENIED,
    body,
    exchange_of,
    filter_of,
    last,
    post,
    proceeds,
)

from .asking import BODY, STREAM, reads, refused, sets


@pytest.mark.parametrize("where", ["needs nothing", "needs the answer"])
async def test_a_body_with_half_a_surrogate_pair_passes_untouched_and_is_refused_when_it_must_be_rewritten(where: str) -> None:
    needs = BODY | (STREAM if where == "needs the answer" else Needs.NOTHING)
    document = b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}'
    assert proceeds(await last(exchange_of(filter_of(needs=needs)), post(), body(document))).body is None
    editing = filter_of(needs=needs, on_request=sets(("x",), 1))
    reply = refused(await last(exchange_of(editing), post(), body(document)))
    assert (reply.status, reply.reason) == (400, "body.lone_surrogate")


BAD_BODIES = {
    b"": "body.not_json",
    b"not json": "body.not_json",
    b"[]": "body.not_object",
    b'{"model": "m", "model": "n", "messages": []}': "body.duplicate_key",
    b'{"model": 7, "messages": []}': "body.invalid",
    b"\xff": "body.not_json",
    b" " * 1_000_000: "body.not_json",
    b"[" * 2000 + b"]" * 2000: "body.too_deep",
    b'{"model": "m", "messages": [], "max_tokens": 123456789012345678901234567890}': "body.invalid",
}


@pytest.mark.parametrize("data", BAD_BODIES, ids=lambda data: repr(data[:40]))
async def test_a_body_that_cannot_be_read_is_refused_in_the_callers_dialect_before_any_filter_sees_it(data: bytes) -> None:
    filter = reads()
    reply = refused(await last(exchange_of(filter), post("/v1/messages"), body(data)))
    document = json.loads(reply.body)
    assert (document["type"], document["error"]["code"]) == ("error", BAD_BODIES[data])
    assert reply.status == 400
    assert filter.session.heard == ["on_headers"]


async def test_a_body_that_was_not_collected_to_its_end_is_refused_before_any_filter_sees_it() -> None:
    exchange = exchange_of(filter_of(needs=BODY, on_request=DENIED))
    answer = await last(exchange, post(), RequestBody(b"", too_large=True))
    assert isinstance(answer, Refuse)
    assert (answer.status, answer.reason) == (413, "body.too_large")


async def test_a_request_without_a_body_where_one_is_needed_is_refused() -> None:
    assert refused(await last(exchange_of(reads()), post(end=True))).reason == "body.not_json"


@pytest.mark.parametrize("value", ["gzip", "GZIP ", "identity, br", "unheard-of"])
async def test_a_compressed_request_is_refused_where_a_filter_must_read_it(value: str) -> None:
    reply = refused(await last(exchange_of(reads()), post(content_encoding=value)))
    assert (reply.status, reply.reason) == (415, "body.encoded")


async def test_a_websocket_is_refused_where_a_filter_must_read_what_it_carries() -> None:
    reply = refused(await last(exchange_of(reads()), post(upgrade="WebSocket")))
    assert (reply.status, reply.reason) == (426, "body.websocket")
    assert proceeds(await last(exchange_of(reads()), post(upgrade="h2c")))  # Java's client asks for it with every request


@pytest.mark.parametrize("end", [True, False])
async def test_a_websocket_is_a_call_where_the_gateway_says_that_no_body_follows_too(end: bool) -> None:
    event = post(upgrade="websocket")
    asked = replace(event, headers=type(event.headers)([(":method", "GET"), *event.headers.pairs[1:]]), end=end)
    assert asked.headers.get(":method") == "GET"
    assert refused(await last(exchange_of(reads()), asked)).reason == "body.websocket"


async def test_a_second_content_encoding_header_is_seen() -> None:
    event = post(content_encoding="identity")
    both = replace(event, headers=type(event.headers)([*event.headers, ("content-encoding", "gzip")]))
    assert refused(await last(exchange_of(reads()), both)).reason == "body.encoded"


@pytest.mark.parametrize("value", ["identity", " Identity"])
async def test_a_request_that_says_it_is_not_compressed_passes(value: str) -> None:
    assert proceeds(await last(exchange_of(reads()), post(content_encoding=value), body())).last


CHARSETS = [
    "utf-16",
    "UTF-7",
    '"utf-7"',
    "'utf-7'",
    " utf-7 ",
    "utf-8; charset=utf-7",
    "unicode-1-1-utf-7",
    "cp037",
    "utf-8, application/json; charset=utf-32",
]


@pytest.mark.parametrize("charset", CHARSETS)
async def test_a_request_in_a_charset_that_only_its_upstream_obeys_is_refused(charset: str) -> None:
    reply = refused(await last(exchange_of(reads()), post(content_type=f"application/json; charset={charset}")))
    assert (reply.status, reply.reason) == (415, "body.charset")


async def test_a_second_content_type_header_is_seen() -> None:
    event = post(content_type="application/json")
    both = replace(event, headers=type(event.headers)([*event.headers, ("content-type", "text/plain;CHARSET = utf-7")]))
    assert refused(await last(exchange_of(reads()), both)).reason == "body.charset"


@pytest.mark.parametrize(
    "kind", ["application/json", "", "application/json; charset=UTF-8", 'text/plain;charset="utf8"', "a; charset=ISO-8859-1"]
)
async def test_a_request_in_ascii_or_utf_8_passes(kind: str) -> None:
    assert proceeds(await last(exchange_of(reads()), post(content_type=kind), body())).last


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
async def test_more_headers_than_the_gateway_can_carry_through_are_refused(path: str) -> None:
    filter = filter_of()
    event = post(path)
    most = [*event.headers, *((f"x-{number}", "y") for number in range(MAX_HEADERS - 2))]
    assert proceeds(await last(exchange_of(filter), replace(event, headers=Headers(most)))).last
    reply = refused(await last(exchange_of(filter), replace(event, headers=Headers([*most, ("x-more", "z")]))))
    assert (reply.status, reply.reason) == (431, "headers.too_many")
    assert json.loads(reply.body)["error"]["type"] == "invalid_request_error"


async def test_a_compressed_request_passes_where_nobody_reads_it() -> None:
    assert proceeds(await last(exchange_of(filter_of()), post(content_encoding="gzip"))).last
