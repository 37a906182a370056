"""Hostile and broken requests in both dialects: a 4xx the caller's SDK can read, or through byte for byte; never unscrubbed."""

import gzip
import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.e2e.site import CHAT, MESSAGES, MODEL, Caller, Site

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

MAIL = "ann.lee@example.org"
DEEP = 2000
DIGITS = b"123456789012345678901234567890"


@dataclass(frozen=True)
class Dialect:
    path: str
    model: str

    def body(self, content: bytes = b'"hi"', more: bytes = b"") -> bytes:
        """A call whose one message has this JSON as its content; `more` members follow."""
        head = b'{"model": "%b", "max_tokens": 9, "messages": [{"role": "user", "content": %b}]' % (self.model.encode(), content)
        return head + (b", " + more if more else b"") + b"}"


OPENAI, ANTHROPIC = Dialect(CHAT, MODEL), Dialect(MESSAGES, "claude-sonnet")
dialects = pytest.mark.parametrize("dialect", [OPENAI, ANTHROPIC], ids=["openai", "anthropic"])

Make = Callable[[Dialect], bytes]
REFUSED: Mapping[str, tuple[Make, str]] = {
    "not JSON": (lambda _: b"model=llama&prompt=hi", "body.not_json"),
    "cut off": (lambda d: d.body()[:-1], "body.not_json"),
    "two documents": (lambda d: d.body() + d.body(), "body.not_json"),
    "empty": (lambda _: b"", "body.not_json"),
    "a megabyte of blanks": (lambda _: b" " * 1_000_000, "body.not_json"),
    "a list": (lambda d: b"[" + d.body() + b"]", "body.not_object"),
    "null": (lambda _: b"null", "body.not_object"),
    "a number": (lambda _: b"5", "body.not_object"),
    "duplicate model": (lambda d: d.body(more=b'"model": "boundless"'), "body.duplicate_key"),
    "duplicate messages": (lambda d: d.body(more=b'"messages": []'), "body.duplicate_key"),
    "duplicate escaped": (lambda d: d.body(more=b'"m\\u006fdel": "boundless"'), "body.duplicate_key"),
    "duplicate deep": (lambda d: d.body(more=b'"x": {"a": {"b": 1, "b": 2}}'), "body.duplicate_key"),
    "2,000 lists": (lambda d: d.body(more=b'"x": ' + b"[" * DEEP + b"]" * DEEP), "body.too_deep"),
    "2,000 objects": (lambda d: d.body(more=b'"x": ' + b'{"a": ' * DEEP + b"1" + b"}" * DEEP), "body.too_deep"),
    "100,000 lists": (lambda d: d.body(more=b'"x": ' + b"[" * 100_000 + b"]" * 100_000), "body.too_many_parts"),
    "100,000 open lists": (lambda _: b"[" * 100_000, "body.too_deep"),
    "5,000 digits": (lambda d: d.body(more=b'"seed": ' + b"9" * 5000), "body.not_json"),
    "NaN": (lambda d: d.body(more=b'"temperature": NaN'), "body.not_json"),
    "-Infinity": (lambda d: d.body(more=b'"temperature": -Infinity'), "body.not_json"),
    "infinite": (lambda d: d.body(more=b'"temperature": 1e999'), "body.not_json"),
    "UTF-16": (lambda d: d.body().decode().encode("utf-16"), "body.not_json"),
    "UTF-32": (lambda d: d.body().decode().encode("utf-32"), "body.not_json"),
    "byte order mark": (lambda d: b"\xef\xbb\xbf" + d.body(), "body.not_json"),
    "Latin-1": (lambda d: d.body('"é"'.encode("latin-1")), "body.not_json"),
    "overlong": (lambda d: d.body(b'"\xc0\xaf"'), "body.not_json"),
    "surrogate in bytes": (lambda d: d.body(b'"\xed\xa0\x80"'), "body.not_json"),
    "gzip, not said": (lambda d: gzip.compress(d.body()), "body.not_json"),
    "comment": (lambda d: b"/* hi */" + d.body(), "body.not_json"),
    "trailing comma": (lambda d: d.body()[:-1] + b",}", "body.not_json"),
    "raw newline in a string": (lambda d: d.body(b'"a\nb"'), "body.not_json"),
    "a 30-digit cap": (lambda d: d.body().replace(b'"max_tokens": 9', b'"max_tokens": ' + DIGITS), "body.invalid"),
    "a negative cap": (lambda d: d.body().replace(b'"max_tokens": 9', b'"max_tokens": -1'), "body.invalid"),
    "a cap in words": (lambda d: d.body().replace(b'"max_tokens": 9', b'"max_tokens": "9"'), "body.invalid"),
    "a broken cap": (lambda d: d.body().replace(b'"max_tokens": 9', b'"max_tokens": 9.5'), "body.invalid"),
    "messages as text": (lambda d: b'{"model": "%b", "messages": "hi"}' % d.model.encode(), "body.invalid"),
    "messages of texts": (lambda d: b'{"model": "%b", "messages": ["hi"]}' % d.model.encode(), "body.invalid"),
    "no messages": (lambda d: b'{"model": "%b"}' % d.model.encode(), "body.invalid"),
    "content a number": (lambda d: d.body(b"5"), "body.invalid"),
    "content an object": (lambda d: d.body(b'{"text": "hi"}'), "body.invalid"),
    "content true": (lambda d: d.body(b"true"), "body.invalid"),
    "no model": (lambda _: b'{"messages": []}', "body.invalid"),
    "model a number": (lambda _: b'{"model": 5, "messages": []}', "body.invalid"),
    "model a list": (lambda _: b'{"model": ["llama"], "messages": []}', "body.invalid"),
    "model with a newline": (lambda _: b'{"model": "llama\\nx-a: b", "messages": []}', "body.invalid"),
    "model a lone surrogate": (lambda _: b'{"model": "\\ud800", "messages": []}', "body.invalid"),
    "stream in words": (lambda d: d.body(more=b'"stream": "yes"'), "body.invalid"),
    "stream a number": (lambda d: d.body(more=b'"stream": 1'), "body.invalid"),
}
refused = pytest.mark.parametrize(("make", "reason"), REFUSED.values(), ids=REFUSED)


@refused
@dialects
async def test_what_two_parsers_may_read_differently_is_refused_in_the_callers_dialect(
    site: Site, dialect: Dialect, make: Make, reason: str
) -> None:
    caller = await site.caller()
    code, status = await error_of(site, caller, dialect, make(dialect))
    assert (code, status) == (reason, 400)
    assert not site.received
    assert await site.spent(caller) == 0


async def error_of(site: Site, caller: Caller, dialect: Dialect, body: bytes, **headers: str) -> tuple[Any, int]:
    """What the official SDK makes of the answer: the error's code and its status."""
    return await (openais if dialect is OPENAI else anthropics)(site, caller, dialect.path, body, headers)


async def openais(site: Site, caller: Caller, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[Any, int]:
    async with site.openai(caller) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            options: Any = {"headers": {"content-type": "application/json", **headers}}
            await client.post(path.removeprefix("/v1"), cast_to=object, content=body, options=options)
    error = caught.value
    assert error.type == "invalid_request_error"
    assert error.response.headers["x-should-retry"] == "false"
    return error.code, error.status_code


async def anthropics(site: Site, caller: Caller, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[Any, int]:
    async with site.anthropic(caller) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            options: Any = {"headers": {"content-type": "application/json", **headers}}
            await client.post(path, cast_to=object, content=body, options=options)
    document: Any = caught.value.body
    assert document["type"] == "error"
    assert document["error"]["type"] == "invalid_request_error"
    return document["error"]["code"], caught.value.status_code


@dialects
@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "gzip, identity"])
async def test_a_compressed_body_is_refused(site: Site, dialect: Dialect, encoding: str) -> None:
    caller = await site.caller()
    code, status = await error_of(site, caller, dialect, gzip.compress(dialect.body()), **{"content-encoding": encoding})
    assert status == 415
    assert code.startswith("body.")
    assert not site.received


@dialects
@pytest.mark.parametrize("charset", ["utf-7", "UTF-16", '"utf-7"'])
async def test_a_body_in_a_charset_that_only_its_upstream_would_obey_is_refused(site: Site, dialect: Dialect, charset: str) -> None:
    caller = await site.caller()
    hidden = dialect.body(json.dumps(MAIL.replace("@", "+AEA-")).encode())
    found = await error_of(site, caller, dialect, hidden, **{"content-type": f"application/json; charset={charset}"})
    assert found == ("body.charset", 415)
    assert not site.received


@dialects
@pytest.mark.parametrize("more", range(80, 96))
async def test_many_headers_pass_or_are_refused_in_the_callers_words(site: Site, dialect: Dialect, more: int) -> None:
    """Envoy takes 100 of them, and does not answer whoever sends more."""
    caller = await site.caller()
    headers = caller.headers | {f"x-{number}": "y" for number in range(more)}
    try:
        answer = await site.client.post(dialect.path, content=dialect.body(), headers=headers)
    except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
        assert more > 88
        return
    assert answer.status_code == 200 or (refused_in_dialect(answer, dialect) and answer.status_code == 431)
    assert len(site.received) == (answer.status_code == 200)


PASSED: Mapping[str, Make] = {
    "a megabyte of blanks around it": lambda d: b" " * 500_000 + d.body() + b"\n" * 500_000,
    "blanks within": lambda d: d.body().replace(b", ", b" \t\r\n , "),
    "30 digits": lambda d: d.body(more=b'"seed": ' + DIGITS),
    "4,000 digits": lambda d: d.body(more=b'"seed": ' + b"9" * 4000),
    "numbers spelled oddly": lambda d: d.body(more=b'"temperature": 1.50, "top_p": 1E-5, "x": [-0, 0e0, 1e5]'),
    "100 levels": lambda d: d.body(more=b'"x": ' + b"[" * 100 + b"]" * 100),
    "escapes": lambda d: d.body(b'"\\u0068\\u0069 \\/ \\ud83d\\ude00"'),
    "escaped names": lambda d: d.body().replace(b'"model"', b'"m\\u006fdel"'),
    "astral": lambda d: d.body('"\N{WATER WAVE} über"'.encode()),
    "null bytes": lambda d: d.body(b'"a\\u0000b"'),
    "unknown members": lambda d: d.body(more=b'"__proto__": {"a": 1}, "\xc3\xa9": null'),
    "empty content": lambda d: d.body(b'""'),
    "no parts": lambda d: d.body(b"[]"),
}


@dialects
@pytest.mark.parametrize("make", PASSED.values(), ids=PASSED)
async def test_what_every_parser_reads_alike_passes_byte_for_byte(site: Site, dialect: Dialect, make: Make) -> None:
    caller = await site.caller()
    body = make(dialect)
    answer = await site.post(caller, body, dialect.path)
    assert answer.status_code == 200, answer.text
    assert site.only_received.body == body


LONE: Mapping[str, bytes] = {
    "a high half": b'"\\ud83d and more"',
    "a low half": b'"\\ude00 and more"',
    "halves in the wrong order": b'"\\ude00\\ud83d"',
    "in a part": b'[{"type": "text", "text": "\\ud83d"}]',
}


@dialects
@pytest.mark.parametrize("content", LONE.values(), ids=LONE)
@pytest.mark.parametrize("more", [b"", b'"stream": true'], ids=["json", "sse"])
async def test_half_a_surrogate_pair_passes_byte_for_byte_or_is_refused(
    site: Site, dialect: Dialect, content: bytes, more: bytes
) -> None:
    """It passes where nothing is to be rewritten, and is refused where it would have to be written anew."""
    caller = await site.caller()
    body = dialect.body(content, more)
    answer = await site.post(caller, body, dialect.path)
    received = [entry.body for entry in site.received]
    assert received == [body] or (not received and refused_in_dialect(answer, dialect))


def refused_in_dialect(answer: httpx.Response, dialect: Dialect) -> bool:
    """True; AssertionError where the answer is no refusal of ours in the caller's words."""
    document = answer.json()
    assert 400 <= answer.status_code < 500, answer.text
    assert document["error"]["code"] == answer.headers["x-headrace-reason"]
    assert (document.get("type") == "error") == (dialect is ANTHROPIC)
    return True


HIDDEN: Mapping[str, Make] = {
    "plainly": lambda d: d.body(json.dumps(f"mail {MAIL} now").encode()),
    "escaped": lambda d: d.body(b'"mail ' + escaped(MAIL) + b' now"'),
    "beside half a pair": lambda d: d.body(b'"mail ' + MAIL.encode() + b' \\ud83d"'),
    "after a megabyte of blanks": lambda d: b" " * 1_000_000 + d.body(json.dumps(MAIL).encode()),
    "in a name": lambda d: d.body(more=b'"x": {"%b": 1}' % MAIL.encode()),
    "in an unknown member": lambda d: d.body(more=b'"x": {"y": ["%b"]}' % MAIL.encode()),
    "150 levels deep": lambda d: d.body(more=b'"x": ' + b"[" * 150 + json.dumps(MAIL).encode() + b"]" * 150),
    "2,000 levels deep": lambda d: d.body(more=b'"x": ' + b"[" * DEEP + json.dumps(MAIL).encode() + b"]" * DEEP),
    "in the first of two": lambda d: d.body(json.dumps(MAIL).encode(), more=b'"messages": []'),
    "in UTF-16": lambda d: d.body(json.dumps(MAIL).encode()).decode().encode("utf-16"),
    "in a part": lambda d: d.body(b'[{"type": "text", "text": "%b"}]' % MAIL.encode()),
    "in a part of no type": lambda d: d.body(b'[{"text": "%b"}]' % MAIL.encode()),
    "in a part of an unknown type": lambda d: d.body(b'[{"type": "secret", "payload": {"z": "%b"}}]' % MAIL.encode()),
    "beside 30 digits": lambda d: d.body(json.dumps(MAIL).encode(), more=b'"seed": ' + DIGITS),
    "beside odd numbers": lambda d: d.body(json.dumps(MAIL).encode(), more=b'"temperature": 1.50, "top_p": 1E-5'),
}


def escaped(text: str) -> bytes:
    return "".join(f"\\u{ord(letter):04x}" for letter in text).encode()


@dialects
@pytest.mark.parametrize("make", HIDDEN.values(), ids=HIDDEN)
async def test_personal_data_never_leaves_however_it_is_written(site: Site, dialect: Dialect, make: Make) -> None:
    caller = await site.caller()
    answer = await site.post(caller, make(dialect), dialect.path)
    assert len(site.received) == 1 or refused_in_dialect(answer, dialect)
    for entry in site.received:
        assert answer.status_code == entry.status
        assert MAIL not in json.dumps(json.loads(entry.body))
        assert b"<EMAIL_ADDRESS_" in entry.body


@dialects
@pytest.mark.parametrize("content", [b'"hi"', json.dumps(MAIL).encode()])
async def test_a_body_in_chunks_is_read_whole(site: Site, dialect: Dialect, content: bytes) -> None:
    async def in_pieces() -> AsyncIterator[bytes]:
        for at in range(len(body)):
            yield body[at : at + 1]

    caller = await site.caller()
    body = dialect.body(content)
    answer = await site.client.post(dialect.path, content=in_pieces(), headers=caller.headers)
    assert answer.status_code == 200
    assert MAIL.encode() not in site.only_received.body
    assert (site.only_received.body == body) == (content == b'"hi"')
