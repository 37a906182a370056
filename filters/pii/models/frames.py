"""What a model's process and its owner say to each other: frames of msgpack, each after its length in four bytes."""

import re
import struct
from collections.abc import Sequence
from typing import Protocol

import msgspec

BACKGROUND = "--background"
"""The worker's argument that has it give way to other processes."""
_LENGTH = struct.Struct("<I")
_SURROGATES = re.compile("[\ud800-\udfff]")


class Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> object: ...


class Stream(Source, Sink, Protocol):
    """Both."""


class Loaded(msgspec.Struct):
    """The answer to the models' names. problem: why they cannot be loaded."""

    entities: Sequence[str] = ()
    problem: str | None = None


def write_frame(out: Sink, data: bytes) -> None:
    """Raises OSError when nobody reads any more."""
    out.write(_LENGTH.pack(len(data)) + data)
    out.flush()


def read_frame(source: Source) -> bytes | None:
    """The next frame; None at the end, or where it ends in the middle of one."""
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    data = source.read(length)
    return data if len(data) == length else None


def encodable(text: str) -> str:
    """The text without halves of surrogate pairs, which have no UTF-8; every character at its place."""
    return _SURROGATES.sub("?", text)
