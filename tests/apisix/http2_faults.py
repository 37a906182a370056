"""What a peer may not do on HTTP/2 and gRPC, each with the words the plugin has for it; and what it may do, however odd."""

from collections.abc import Mapping

from hpack import Encoder

from headrace.ext_proc.envoy.h2 import frames
from headrace.ext_proc.envoy.h2.errors import ErrorCode
from headrace.ext_proc.envoy.h2.frames import Flag, Kind, Setting
from headrace.ext_proc.envoy.h2.messages import framed
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from tests.apisix.raw_peer import GREETING, STATUS_200, Script, data, head, message, setting, to_body, to_headers, trailers
from tests.envoy.h2.wire import block

FLOOD = 12_000
"""Frames; the plugin takes 10,000 that carry nothing."""
END = Flag.END_STREAM
ANSWER = message(to_headers())
PING = frames.ping(b"12345678", ack=False)


def raw(kind: int, payload: bytes = b"", *, stream: int = 1, flags: int = 0) -> bytes:
    return frames.frame(kind, flags, stream, payload)


def greets(*said: bytes) -> Script:
    """In place of the settings."""
    return Script(greeting=b"".join(said))


def says(*said: bytes) -> Script:
    """Between the head of the answer and its first message."""
    return Script(first=b"".join(said) + data(ANSWER))


def heads(*said: bytes) -> Script:
    """In place of the head."""
    return Script(head=b"".join(said))


def answers(first: bytes, *more: bytes) -> Script:
    """In place of both messages and of the end."""
    return Script(first=first + b"".join(more), second=b"", end=b"")


def _refusal(**members: int) -> bytes:
    reply = pb.ImmediateResponse()
    reply.SetInParent()
    if "code" in members:
        reply.status.code = members["code"]
    return data(message(pb.ProcessingResponse(immediate_response=reply)))


SETTINGS: Mapping[str, tuple[Script, str]] = {
    "another protocol": (greets(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), "more than was allowed"),
    "no settings first": (greets(PING), "no SETTINGS at the beginning"),
    "an acknowledgement first": (greets(frames.SETTINGS_ACK), "no SETTINGS at the beginning"),
    "half a setting": (greets(raw(Kind.SETTINGS, b"12345", stream=0)), "a broken SETTINGS frame"),
    "settings of a stream": (greets(raw(Kind.SETTINGS)), "a broken SETTINGS frame"),
    "an acknowledgement with settings": (says(raw(Kind.SETTINGS, b"123456", stream=0, flags=Flag.ACK)), "a broken SETTINGS frame"),
    "pushes announced": (greets(setting(Setting.ENABLE_PUSH, 1)), "a setting that may not be: 2 is 1"),
    "a window of 2 GiB": (greets(setting(Setting.INITIAL_WINDOW_SIZE, 1 << 31)), "a setting that may not be: 4 is 2147483648"),
    "frames too small": (greets(setting(Setting.MAX_FRAME_SIZE, 16_383)), "a setting that may not be: 5 is 16383"),
    "frames too large": (greets(setting(Setting.MAX_FRAME_SIZE, 1 << 24)), "a setting that may not be: 5 is 16777216"),
    "settings that overflow a window": (
        says(frames.window_update(1, 2**31 - 70_000), setting(Setting.INITIAL_WINDOW_SIZE, 200_000)),
        "a setting that may not be: 4",
    ),
    "a flood of settings": (says(GREETING * FLOOD), "a flood"),
}  # fmt: skip

CONNECTION: Mapping[str, tuple[Script, str]] = {
    "a frame too large": (says(raw(Kind.DATA, b"\0" * 16_385)), "more than was allowed"),
    "a short ping": (says(raw(Kind.PING, b"1234567", stream=0)), "a broken PING frame"),
    "a ping on a stream": (says(raw(Kind.PING, b"12345678")), "a broken PING frame"),
    "a flood of pings": (says(PING * FLOOD), "a flood"),
    "a short goaway": (says(raw(Kind.GOAWAY, b"1234567", stream=0)), "a broken GOAWAY frame"),
    "a goaway on a stream": (says(raw(Kind.GOAWAY, b"\0" * 8)), "a broken GOAWAY frame"),
    "a goaway that leaves the stream out": (says(frames.goaway(0, ErrorCode.NO_ERROR)), "the service is leaving"),
    "a reset": (answers(frames.rst_stream(1, ErrorCode.INTERNAL_ERROR)), "reset with code 2"),
    "a reset of three bytes": (says(raw(Kind.RST_STREAM, b"123")), "a broken RST_STREAM frame"),
    "a reset of the connection": (says(raw(Kind.RST_STREAM, b"1234", stream=0)), "a broken RST_STREAM frame"),
    "a reset of a stream nobody opened": (says(frames.rst_stream(3, ErrorCode.CANCEL)), "a broken RST_STREAM frame"),
    "an empty window update": (says(frames.window_update(1, 0)), "a broken WINDOW_UPDATE frame"),
    "a short window update": (says(raw(Kind.WINDOW_UPDATE, b"123")), "a broken WINDOW_UPDATE frame"),
    "a window of a stream nobody opened": (says(frames.window_update(3, 1)), "a broken WINDOW_UPDATE frame"),
    "the connection's window overflows": (says(frames.window_update(0, 2**31 - 1)), "a window beyond"),
    "the stream's window overflows": (says(frames.window_update(1, 2**31 - 1)), "a window beyond"),
    "a flood of window updates": (says(frames.window_update(1, 1) * FLOOD), "a flood"),
    "a push": (says(raw(Kind.PUSH_PROMISE, b"\0\0\0\2", flags=Flag.END_HEADERS)), "a push that was not allowed"),
    "a short priority": (says(raw(Kind.PRIORITY, b"1234")), "a broken PRIORITY frame"),
    "a priority of the connection": (says(raw(Kind.PRIORITY, b"12345", stream=0)), "a broken PRIORITY frame"),
    "a flood of frames of an extension": (says(raw(0xEE) * FLOOD), "a flood"),
}  # fmt: skip

FIELD = b"\x00\x01a\x01b"
"""A literal that needs no table: a: b."""


def _block(payload: bytes) -> bytes:
    return raw(Kind.HEADERS, payload, flags=Flag.END_HEADERS)


HEADERS: Mapping[str, tuple[Script, str]] = {
    "headers of another stream": (heads(head(3)), "headers where there can be none"),
    "headers of no stream": (heads(head(0)), "headers where there can be none"),
    "headers without a status": (heads(head(1, ("content-type", "application/grpc"))), "headers without a status"),
    "a status of HTTP": (heads(head(1, (":status", "404"))), "HTTP status 404"),
    "another type of content": (heads(head(1, (":status", "200"), ("content-type", "text/html"))), "content-type text/html"),
    "headers twice": (says(head()), "headers after the headers"),
    "an end before the beginning": (heads(trailers(1, (":status", "103"))), "an end where an answer had not begun"),
    "a flood of interim answers": (heads(head(1, (":status", "103")) * FLOOD), "a flood"),
    "too much padding": (heads(raw(Kind.HEADERS, b"\x05a", flags=Flag.END_HEADERS | Flag.PADDED)), "a broken HEADERS"),
    "no room for a priority": (heads(raw(Kind.HEADERS, b"1234", flags=Flag.END_HEADERS | Flag.PRIORITY)), "a broken HEADERS"),
    "a continuation of nothing": (says(raw(Kind.CONTINUATION, FIELD, flags=Flag.END_HEADERS)), "a CONTINUATION of nothing"),
    "data in the middle of headers": (heads(head(flags=0), data(b"")), "another frame between HEADERS and CONTINUATION"),
    "a continuation of another stream": (heads(head(flags=0), raw(Kind.CONTINUATION, stream=3)), "a CONTINUATION of nothing"),
    "a flood of empty continuations": (heads(head(flags=0), raw(Kind.CONTINUATION) * FLOOD), "a flood"),
    "headers without end": (heads(head(flags=0), raw(Kind.CONTINUATION, FIELD * 3000) * 5), "headers beyond 65536 bytes"),
    "a field of the dynamic table": (heads(_block(b"\xbe")), "a broken header block"),
    "field number 0": (heads(_block(b"\x80")), "a broken header block"),
    "a number without end": (heads(_block(b"\xff" * 20)), "a broken header block"),
    "a name that is cut off": (heads(_block(b"\x00\x05ab")), "a broken header block"),
    "a value that is missing": (heads(_block(b"\x00\x01a")), "a broken header block"),
    "huffman code with zeros at its end": (heads(_block(b"\x00\x01a\x81\x00")), "a broken header block"),
    "a dynamic table": (heads(_block(b"\x3f\xe1\x1f" + FIELD)), "a dynamic table that was not offered"),
}  # fmt: skip

DATA: Mapping[str, tuple[Script, str]] = {
    "data before the headers": (heads(data(ANSWER)), "data where there can be none"),
    "data of another stream": (says(data(b"x", 3)), "data where there can be none"),
    "data of no stream": (says(data(b"x", 0)), "data where there can be none"),
    "padding longer than the data": (says(data(b"\x09x", flags=Flag.PADDED)), "padding longer than its frame"),
    "padding of nothing": (says(data(b"", flags=Flag.PADDED)), "padding longer than its frame"),
    "a flood of empty data": (says(data(b"") * FLOOD), "a flood"),
    "data after the end": (answers(trailers(), data(ANSWER)), "ended the exchange without an answer"),
    "trailers after the end": (answers(data(b"", flags=END), trailers()), "ended without a status"),
    "an end without trailers": (answers(data(ANSWER[:3], flags=END)), "ended without a status"),
    "a compressed message": (answers(data(b"\1" + ANSWER[1:])), "compressed, or too long"),
    "a message of 4 GiB": (answers(data(b"\0\xff\xff\xff\xff")), "compressed, or too long"),
    "a message cut off by the end": (answers(data(ANSWER[:-1]), trailers()), "a message that is cut off"),
    "a message cut off in its prefix": (answers(data(ANSWER[:3]), trailers()), "a message that is cut off"),
    "a clean end without an answer": (answers(trailers()), "ended the exchange without an answer"),
    "trailers without a status": (answers(trailers(1, ("x", "y"))), "grpc-status missing"),
    "an error of the service": (answers(trailers(1, ("grpc-status", "13"), ("grpc-message", "a\nb"))), "grpc-status 13: a[?]b"),
    "an answer that is all head": (
        Script(head=trailers(1, *STATUS_200, ("grpc-status", "12")), first=b"", second=b"", end=b""), "grpc-status 12"
    ),
    "bytes that are no message": (answers(data(framed(b"\xff\xff"))), "bytes that are no answer"),
    "a message that says nothing": (answers(data(framed(b""))), "something else than it was asked"),
    "an answer to something else": (answers(data(message(to_body()))), "something else than it was asked"),
    "a refusal without a status": (answers(_refusal()), "a status that is none: 0"),
    "a refusal with a status that is none": (answers(_refusal(code=99)), "a status that is none: 99"),
}  # fmt: skip

SILENCE: Mapping[str, Script] = {
    "silence": Script(greeting=b"", head=b"", first=b"", second=b"", end=b""),
    "silence after the greeting": Script(head=b"", first=b"", second=b"", end=b""),
    "silence after the headers' answer": Script(second=b"", end=b""),
    "a frame that does not come to its end": Script(first=data(ANSWER)[:-1], second=b"", end=b""),
}  # fmt: skip
"""What nothing follows, on a connection that stays open."""

CLOSED: Mapping[str, tuple[Script, str]] = {
    "a connection closed after one answer": (Script(second=b"", end=b"", stays=False), "closed|reset by peer|broken pipe"),
    "a connection closed in a frame": (Script(second=data(ANSWER)[:-2], end=b"", stays=False), "closed|reset by peer|broken pipe"),
}  # fmt: skip

FAULTS = {**SETTINGS, **CONNECTION, **HEADERS, **DATA, **CLOSED}
"""Name to what the service says, and to words of what the plugin logs."""


def _padded(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return raw(kind, b"\x03" + payload + b"\0\0\0", flags=flags | Flag.PADDED)


def _byte_by_byte(payload: bytes) -> bytes:
    return b"".join(data(payload[at : at + 1]) for at in range(len(payload)))


def _continued(payload: bytes) -> bytes:
    """A header block of as many frames as it has bytes."""
    first = raw(Kind.HEADERS, payload[:1])
    rest = [raw(Kind.CONTINUATION, payload[at : at + 1]) for at in range(1, len(payload))]
    return first + b"".join(rest) + raw(Kind.CONTINUATION, flags=Flag.END_HEADERS)


HEAD = block(*STATUS_200)
SECOND = message(to_body())
LAST = trailers()
ODD: Mapping[str, Script] = {
    "nothing unusual": Script(),
    "settings again and again": says(*[setting(Setting.INITIAL_WINDOW_SIZE, size) for size in (0, 1, 2**31 - 1, 70_000)]),
    "a setting nobody knows": greets(setting(0xABCD, 2**32 - 1)),
    "an empty greeting and an acknowledgement": greets(GREETING, frames.SETTINGS_ACK),
    "larger frames allowed": greets(setting(Setting.MAX_FRAME_SIZE, 2**24 - 1)),
    "pings everywhere": Script(GREETING + PING, head() + PING, PING + data(ANSWER) + PING, PING + data(SECOND) + PING, PING + LAST),
    "frames of extensions": Script(first=raw(0xEE, b"x" * 16_384) + raw(0x42, stream=0) + raw(0x10, stream=9) + data(ANSWER)),
    "priorities": says(raw(Kind.PRIORITY, b"12345"), raw(Kind.PRIORITY, b"12345", stream=7)),
    "headers with a priority": heads(raw(Kind.HEADERS, b"12345" + HEAD, flags=Flag.END_HEADERS | Flag.PRIORITY)),
    "everything padded": Script(
        head=_padded(Kind.HEADERS, HEAD, Flag.END_HEADERS), first=_padded(Kind.DATA, ANSWER), second=_padded(Kind.DATA, SECOND)),
    "padding alone": says(raw(Kind.DATA, b"\x03\0\0\0", flags=Flag.PADDED)),
    "messages byte by byte": Script(first=_byte_by_byte(ANSWER), second=_byte_by_byte(SECOND)),
    "headers byte by byte": Script(head=_continued(HEAD)),
    "huffman code": heads(_block(Encoder().encode([(name, value, True) for name, value in STATUS_200], huffman=True))),
    "a table of size 0": heads(_block(b"\x20" + HEAD)),
    "fields that a table might remember": heads(_block(b"\x88\x5f\x10application/grpc")),
    "an interim answer": heads(head(1, (":status", "103"), ("link", "x")), head()),
    "windows that grow": says(frames.window_update(0, 1), frames.window_update(1, 2**31 - 1 - 65_535)),
    "a goaway that keeps the stream": says(frames.goaway(1, ErrorCode.NO_ERROR)),
    "a reset behind the end": Script(end=LAST + frames.rst_stream(1, ErrorCode.NO_ERROR)),
    "both answers at once": Script(first=data(ANSWER + SECOND) + LAST, second=b"", end=b""),
    "the end with the last answer's frame": Script(second=data(SECOND) + LAST, end=b""),
    "trailers in two frames": Script(end=raw(Kind.HEADERS, LAST[9:12], flags=END) + raw(Kind.CONTINUATION, LAST[12:], flags=4)),
}  # fmt: skip
"""Name to what the service says: all of it is allowed, and the request goes on as if nothing had been."""
