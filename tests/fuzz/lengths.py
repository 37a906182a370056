"""How long a body is, said twice, oddly, or wrongly: what requests are smuggled with."""

import random

from tests.fuzz.drafts import Draft, chunked

SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-fuzz: smuggled\r\ncontent-length: 2\r\n\r\n{}"
"""A request of its own, to whoever takes it for one."""


def chunks(chance: random.Random, draft: Draft) -> None:
    draft.framed(chunked(chance, draft.body), (b"transfer-encoding", chance.choice([b"chunked", b"Chunked", b"CHUNKED"])))


def bad_chunks(chance: random.Random, draft: Draft) -> None:
    size = b"%x" % len(draft.body)
    odd = [
        b"+" + size,
        b"-1",
        b"0x" + size,
        size + b" ",
        size + b"\t;",
        b" " + size,
        b"ffffffffffffffffff",
        b"",
        b"z",
        size + b"\n",
        size + b";\na",
    ]
    ends = [b"\r\n0\r\n\r\n", b"0\r\n\r\n", b"\n0\n\n", b"\r\n0\r\n" + SMUGGLED + b"\r\n\r\n", b"\r\n0\r\n\r\n" + SMUGGLED]
    line = chance.choice([*odd, size, size])
    draft.framed(line + b"\r\n" + draft.body + chance.choice(ends), (b"transfer-encoding", b"chunked"))
    draft.sound, draft.starved = False, True


def length_lies(chance: random.Random, draft: Draft) -> None:
    size = len(draft.body)
    spelled = [b"+%d", b"0%d", b"%d ", b"%d, %d", b"%d,%d", b"0x%x", b"-%d", b"%d.0", b"%d\x0b", b"\t%d", b"%d;"]
    length = chance.choice(spelled)
    value = length % (size,) * length.count(b"%") if length.count(b"%") == 1 else length % (size, size + 5)
    draft.framed(draft.body, (b"content-length", value))
    draft.sound, draft.starved = False, True


def short_length(chance: random.Random, draft: Draft) -> None:
    """The rest of the body is the next request, or none."""
    size = chance.randrange(len(draft.body) + 1)
    draft.framed(draft.body + chance.choice([b"", SMUGGLED]), (b"content-length", b"%d" % size))
    draft.sound, draft.starved = False, True


def long_length(chance: random.Random, draft: Draft) -> None:
    draft.framed(
        draft.body, (b"content-length", chance.choice([b"%d" % (len(draft.body) + 9), b"99999999999999999999", b"2147483648"]))
    )
    draft.sound, draft.starved = False, True


def two_lengths(chance: random.Random, draft: Draft) -> None:
    size = len(draft.body)
    draft.framed(draft.body, (b"content-length", b"%d" % size), (b"Content-Length", b"%d" % chance.choice([size, 0, 5])))
    draft.unsound()
    draft.starved = True


def both(chance: random.Random, draft: Draft) -> None:
    codings = [
        b"chunked",
        b"identity",
        b"xchunked",
        b" chunked",
        b"\tchunked",
        b"chunked, identity",
        b"identity, chunked",
        b"chunked\x0b",
        b"gzip, chunked",
    ]
    body = chance.choice([chunked(chance, draft.body), draft.body, b"0\r\n\r\n" + SMUGGLED])
    headers = [
        (b"content-length", b"%d" % len(body)),
        (chance.choice([b"transfer-encoding", b"Transfer-Encoding", b"transfer_encoding"]), chance.choice(codings)),
    ]
    chance.shuffle(headers)
    draft.framed(body, *headers)
    draft.sound, draft.starved = False, True


def coding(chance: random.Random, draft: Draft) -> None:
    codings = [
        b"gzip",
        b"identity",
        b"chunked, chunked",
        b"xchunked",
        b"\x0bchunked",
        b"chunked\r\n x",
        b"",
        b'"chunked"',
        b"chunked, gzip",
    ]
    draft.framed(chunked(chance, draft.body), (b"transfer-encoding", chance.choice(codings)))
    draft.sound, draft.starved = False, True
