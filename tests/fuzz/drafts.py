"""A request before it is written: what HTTP says of it may be changed, doubled, or a lie."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

Header = tuple[bytes, bytes]


@dataclass
class Draft:
    """sound: HTTP allows it, so that it must be answered. starved: the gateway waits for more, so that the client hangs up.

    own_framing: its headers say already how long the body is. raw_body: the body as it is written, chunks' framing included.
    """

    method: bytes
    target: bytes
    body: bytes
    headers: list[Header]
    version: bytes = b"HTTP/1.1"
    told: list[str] = field(default_factory=list)
    sound: bool = True
    starved: bool = False
    own_framing: bool = False
    raw_body: bytes | None = None
    line_end: bytes = b"\r\n"

    def unsound(self) -> None:
        self.sound = False

    def drop(self, name: bytes) -> None:
        self.headers = [pair for pair in self.headers if pair[0].lower() != name]

    def framed(self, raw_body: bytes, *headers: Header) -> None:
        """The body goes out as `raw_body`, and these headers tell of it."""
        self.raw_body, self.own_framing = raw_body, True
        self.headers.extend(headers)

    def head(self) -> bytes:
        pairs = list(self.headers)
        if not self.own_framing:
            pairs.append((b"content-length", b"%d" % len(self.body)))
        lines = [b" ".join((self.method, self.target, self.version)), *(name + b": " + value for name, value in pairs)]
        return self.line_end.join([*lines, b"", b""])

    def written(self) -> bytes:
        return self.head() + (self.body if self.raw_body is None else self.raw_body)


def chunked(chance: random.Random, body: bytes, sizes: Sequence[int] = (1, 2, 7, 100, 5000)) -> bytes:
    """`body` in chunks of odd lengths, oddly but rightly announced."""
    found = b""
    while body:
        size = chance.choice(sizes)
        piece, body = body[:size], body[size:]
        spelled = chance.choice([b"%x", b"%X", b"0%x", b"000%x", b"%x;a=b", b'%x;a="c;d"']) % len(piece)
        found += spelled + b"\r\n" + piece + b"\r\n"
    return found + chance.choice([b"0\r\n\r\n", b"0\r\n\r\n", b"000\r\n\r\n", b"0\r\nx-trailer: 1\r\n\r\n"])


def pieces(chance: random.Random, written: bytes) -> list[bytes]:
    """The bytes as they are given to the socket, one write each."""
    if chance.random() < 0.6 or len(written) > 50_000:
        return [written]
    cuts = sorted(chance.randrange(len(written) + 1) for _ in range(chance.randint(1, 6)))
    return [written[start:end] for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True) if start != end]


def copy_of(draft: Draft) -> Draft:
    return replace(draft, headers=list(draft.headers), told=list(draft.told))
