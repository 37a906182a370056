"""What HTTP may say of a request: every way to say one thing to the gateway and another to whoever is behind it."""

import gzip
import random
import zlib
from collections.abc import Callable, Mapping

from tests.fuzz import lengths
from tests.fuzz.drafts import Draft
from tests.fuzz.spellings import SPELLINGS

Change = Callable[[random.Random, Draft], None]


def _path(chance: random.Random, draft: Draft) -> None:
    name = draft.target.removeprefix(b"/v1/")
    pattern = chance.choice(SPELLINGS)
    draft.target = pattern.replace(b"{}", chance.choice([name, name, name.upper(), name.replace(b"e", b"%65", 1)]))
    draft.sound = (
        draft.sound and pattern not in (b"{}", b"*") and b"\\" not in pattern and b"#" not in pattern and draft.target.isascii()
    )
    draft.sound = draft.sound and b"\x7f" not in pattern


def _method(chance: random.Random, draft: Draft) -> None:
    draft.method = chance.choice(
        [b"post", b"Post", b"PUT", b"PATCH", b"GET", b"OPTIONS", b"DELETE", b"HEAD", b"TRACE", b"CONNECT", b"FOO", b"P\0ST"]
    )
    draft.sound = draft.sound and draft.method in (b"PUT", b"PATCH", b"GET", b"OPTIONS", b"DELETE", b"HEAD")


def _version(chance: random.Random, draft: Draft) -> None:
    draft.version = chance.choice([b"HTTP/1.0", b"HTTP/1.0", b"HTTP/1.2", b"HTTP/2.0", b"http/1.1", b"HTTP/0.9", b"HTTP/1.1 ", b""])
    draft.unsound()


def _host(chance: random.Random, draft: Draft) -> None:
    draft.drop(b"host")
    kinds: list[list[bytes]] = [
        [],
        [b"a", b"b"],
        [b""],
        [b"x:99999"],
        [b"user@x"],
        [b"x, y"],
        [b"[::1]"],
        [b"elsewhere"],
        [b"EXAMPLE.org"],
    ]
    draft.headers += [(b"host", host) for host in chance.choice(kinds)]
    draft.unsound()


def _compressed(chance: random.Random, draft: Draft) -> None:
    packed = chance.choice([_zipped(draft.body), zlib.compress(draft.body), draft.body, _zipped(_zipped(draft.body))])
    draft.body = packed[: len(packed) - chance.choice([0, 0, 3])]
    names = [
        b"gzip",
        b"GZIP",
        b"x-gzip",
        b"deflate",
        b"br",
        b"zstd",
        b"identity",
        b"gzip, identity",
        b"gzip, gzip",
        b"",
        b" ",
        b"aws-chunked",
        b"utf-8",
    ]
    draft.headers += [
        (chance.choice([b"content-encoding", b"Content-Encoding"]), name)
        for name in chance.choices(names, k=chance.choice([1, 1, 2]))
    ]


def _kind(chance: random.Random, draft: Draft) -> None:
    draft.drop(b"content-type")
    kinds = [
        b"text/plain",
        b"application/json; charset=utf-16",
        b"application/json;charset=UTF-7",
        b"multipart/form-data; boundary=x",
        b"",
        b"application/x-www-form-urlencoded",
    ]
    kinds += [
        b"application/json; charset=latin1",
        b'application/json; charset="utf-16le"',
        b"application/json; charset=utf-8",
        b"x",
        b"application/json; charset=cp037",
    ]
    draft.headers += [(b"content-type", kind) for kind in chance.choices(kinds, k=chance.choice([0, 1, 1, 1, 2]))]


def _zipped(data: bytes) -> bytes:
    """Without the time, so that a case is the same in every run."""
    return gzip.compress(data, mtime=0)


def _charset(chance: random.Random, draft: Draft) -> None:
    """JSON that is JSON all the same, and other words to whoever obeys the charset: UTF-7's letters are ASCII."""
    draft.drop(b"content-type")
    text = draft.body.decode("utf-8", "replace").replace("@", "+AEA-")
    draft.body = text.encode()
    draft.headers.append(
        (b"content-type", b"application/json; charset=" + chance.choice([b"utf-7", b"UTF-7", b'"utf-7"', b"unicode-1-1-utf-7"]))
    )


def _ours(chance: random.Random, draft: Draft) -> None:
    names = [
        b"x-headrace-route",
        b"X-HeadRace-ROUTE",
        b"x_headrace_route",
        b"x-headrace-lease",
        b"x-headrace-exchange",
        b"x-headrace-",
        b"x-headrace-user",
    ]
    names += [
        b"x-envoy-retry-on",
        b"x-envoy-upstream-rq-timeout-ms",
        b"x-envoy-original-path",
        b"x-envoy-force-trace",
        b"x-forwarded-for",
        b"x-gateway-destination-endpoint",
    ]
    draft.headers += [
        (chance.choice(names), chance.choice([b"large", b"nowhere", b"", b"5", b"large, large"]))
        for _ in range(chance.randint(1, 3))
    ]


def _hop(chance: random.Random, draft: Draft) -> None:
    odd = [
        (b"connection", b"authorization, x-a, content-length"),
        (b"te", b"trailers, deflate"),
        (b"expect", b"100-continue"),
        (b"upgrade", b"h2c"),
    ]
    odd += [
        (b"connection", b"upgrade, http2-settings"),
        (b"upgrade", b"websocket"),
        (b"proxy-connection", b"keep-alive"),
        (b"trailer", b"x"),
        (b"expect", b"nonsense"),
    ]
    odd += [
        (b"http2-settings", b"AAMAAABkAAQCAAAAAAIAAAAA"),
        (b"keep-alive", b"timeout=5"),
        (b"x-http-method-override", b"GET"),
        (b"max-forwards", b"0"),
    ]
    draft.headers += chance.sample(odd, chance.choice([1, 2]))
    draft.unsound()


def _odd_headers(chance: random.Random, draft: Draft) -> None:
    odd = [
        (b"x-a", b"\x00"),
        (b"x-a ", b"b"),
        (b"x a", b"b"),
        (b"", b"b"),
        (b"x-a\r\n x-b", b"c"),
        (b"x-a", b"b\nx-inner: 1"),
        (b"x-a", b"b\rx-inner: 1"),
    ]
    odd += [
        (b"x-a", b"b\r\n folded"),
        (b"x-long", b"y" * 70_000),
        (b"x-\xc3\xa9", b"b"),
        (b"x-a", b"\xff\xfe"),
        (b"x-a", b"\x7f"),
        (b"x-a:b", b"c"),
        (b"x-a", b"\x0b"),
    ]
    if chance.random() < 0.15:
        draft.headers += [(b"x-%d" % at, b"y") for at in range(chance.choice([90, 150]))]
    else:
        draft.headers.insert(chance.randrange(len(draft.headers) + 1), chance.choice(odd))
    draft.unsound()


def _capitals(chance: random.Random, draft: Draft) -> None:
    draft.headers = [(chance.choice([bytes.upper, bytes.title, bytes.swapcase])(name), value) for name, value in draft.headers]
    chance.shuffle(draft.headers)


def _line_ends(chance: random.Random, draft: Draft) -> None:
    draft.line_end = chance.choice([b"\n", b"\r", b"\r\r\n", b" \r\n"])
    draft.sound, draft.starved = False, True


def _before(chance: random.Random, draft: Draft) -> None:
    draft.method = chance.choice([b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]) + draft.method
    draft.sound, draft.starved = False, True


CHANGES: Mapping[str, Change] = {
    "path": _path,
    "method": _method,
    "version": _version,
    "host": _host,
    "chunks": lengths.chunks,
    "bad chunks": lengths.bad_chunks,
    "length spelled oddly": lengths.length_lies,
    "length too short": lengths.short_length,
    "length too long": lengths.long_length,
    "two lengths": lengths.two_lengths,
    "length and coding": lengths.both,
    "odd coding": lengths.coding,
    "compressed": _compressed,
    "content type": _kind,
    "charset": _charset,
    "headers of ours": _ours,
    "hop by hop": _hop,
    "odd headers": _odd_headers,
    "capitals": _capitals,
    "line ends": _line_ends,
    "bytes before": _before,
}
FRAMED = frozenset(name for name in CHANGES if "chunks" in name or "length" in name or "coding" in name)
"""Of these a request has one."""


def changed(chance: random.Random, draft: Draft) -> None:
    """Up to two changes; bodies come first, and how they are framed last."""
    chosen = chance.sample(list(CHANGES), chance.choice([0, 0, 0, 1, 1, 1, 2]))
    framings = [name for name in chosen if name in FRAMED][:1]
    for name in [one for one in chosen if one not in FRAMED] + framings:
        draft.told.append(name)
        CHANGES[name](chance, draft)
