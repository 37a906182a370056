"""A client that writes bytes and reads answers, over HTTP/1 and over HTTP/2, and believes nothing of either."""

import asyncio
import contextlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from tests.fuzz.cases import Case
from tests.fuzz.drafts import Draft

HANGS_S = 60.0
"""No answer and no end of the connection within this is a hang. Answers take milliseconds."""
QUIET_S = 0.4
"""A client that has said less than it announced hangs up after so long without a word."""


@dataclass(frozen=True)
class Answer:
    """complete: the body came to its end. status 0: a stream that was reset."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    complete: bool = True


@dataclass(frozen=True)
class Heard:
    """What came back on the case's connection. hung: neither answers nor an end."""

    answers: Sequence[Answer]
    hung: bool = False


async def said(case: Case, port: int) -> Heard:
    """Says the case, and hears what there is to hear."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    answers: list[Answer] = []
    try:
        async with asyncio.timeout(HANGS_S):
            await (_over_http2 if case.over_http2 else _over_http1)(case, reader, writer, answers)
        return Heard(answers)
    except TimeoutError:
        return Heard(answers, hung=True)
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return Heard(answers)
    finally:
        writer.transport.abort()


async def _over_http1(case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: list[Answer]) -> None:
    with contextlib.suppress(ConnectionError):  # an answer may come before all is said
        for piece in case.written:
            writer.write(piece)
            await writer.drain()
    if case.starved:
        with contextlib.suppress(TimeoutError):
            while answer := await asyncio.wait_for(_answer(case, answers, reader), QUIET_S):
                answers.append(answer)
        return
    while len(answers) < len(case.parts) and (answer := await _answer(case, answers, reader)) is not None:
        answers.append(answer)


async def _answer(case: Case, answers: Sequence[Answer], reader: asyncio.StreamReader) -> Answer | None:
    """None at the end of the connection. Answers that only announce another one are passed over."""
    while head := await _head(reader):
        status, headers = _read_head(head)
        if status >= 200:
            drafts = case.drafts[len(answers) : len(answers) + 1]
            bodyless = status in (204, 304) or any(draft.method == b"HEAD" for draft in drafts)
            body, complete = (b"", True) if bodyless else await _body(reader, headers)
            return Answer(status, headers, body, complete)
    return None


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _read_head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in filter(None, lines[1:]):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    return int(lines[0].split(" ")[1]), headers


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    body = b""
    try:
        if "content-length" in headers:
            return await reader.readexactly(int(headers["content-length"])), True
        if headers.get("transfer-encoding") != "chunked":
            return await reader.read(), True
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size + 2)
            body = body[:-2]
        await reader.readuntil(b"\r\n")
    except asyncio.IncompleteReadError:
        return body, False
    return body, True


# --- HTTP/2 with prior knowledge -----------------------------------------------------------------------------------------------


async def _over_http2(case: Case, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: list[Answer]) -> None:
    config = h2.config.H2Configuration(validate_outbound_headers=False, normalize_outbound_headers=False, header_encoding="latin-1")
    connection = h2.connection.H2Connection(config)
    connection.initiate_connection()
    [draft] = case.drafts
    connection.send_headers(1, fields(draft))
    _send(connection, draft.body if draft.raw_body is None else draft.raw_body)
    writer.write(connection.data_to_send())
    answer = _Answering()
    while not answer.over and (data := await reader.read(65_536)):
        try:
            for event in connection.receive_data(data):
                answer.hear(event)
        except h2.exceptions.ProtocolError:
            break  # what follows a stream's end of ours
        writer.write(connection.data_to_send())
    answers.extend(answer.answers)


def fields(draft: Draft) -> list[tuple[bytes, bytes]]:
    hosts = [value for name, value in draft.headers if name.lower() == b"host"]
    others = [(name, value) for name, value in draft.headers if name.lower() != b"host"]
    pseudo = [(b":method", draft.method), (b":scheme", b"http"), (b":path", draft.target)]
    return [*pseudo, *((b":authority", host) for host in hosts), *others]


def _send(connection: h2.connection.H2Connection, body: bytes) -> None:
    """As far as the first window goes: no body is longer, but those that were made to be."""
    body = body[:65_535]
    for start, end in itertools.pairwise([0, *range(9000, len(body), 9000), len(body)]):
        connection.send_data(1, body[start:end])
    connection.end_stream(1)


class _Answering:
    """The one stream's answer as it comes."""

    def __init__(self) -> None:
        self.over = False
        self.answers: list[Answer] = []
        self._status, self._headers, self._body = 0, dict[str, str](), b""

    def hear(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.ResponseReceived(headers=pairs):
                self._headers = {str(name): str(value) for name, value in pairs}
                self._status = int(self._headers.pop(":status"))
            case h2.events.DataReceived(data=data):
                self._body += data or b""
            case h2.events.StreamEnded():
                self._end(complete=True)
            case h2.events.StreamReset():
                self._end(complete=self._status > 0)
            case h2.events.ConnectionTerminated():
                self.over = True

    def _end(self, *, complete: bool) -> None:
        if not self.over:
            self.answers.append(Answer(self._status, self._headers, self._body, complete))
        self.over = True
