"""Where the header fields of a block begin and end (RFC 7541, section 6), without decoding them.

Without a dynamic table a field means the same in every block, so one that was decoded before need not be again. Of a gateway's
headers only a trace's differ from call to call.
"""

from collections.abc import Iterator

_INDEXED, _INDEXING, _SIZE_UPDATE = 0x80, 0x40, 0x20


class NotCut(Exception):
    """The block is to be decoded as a whole: it changes the table's size, or is no block at all."""


def fields(block: bytes) -> Iterator[bytes]:
    """The fields, which together are the block. Raises NotCut."""
    at = 0
    while at < len(block):
        start, at = at, _end(block, at)
        if at > len(block):
            raise NotCut
        yield block[start:at]


def _end(block: bytes, at: int) -> int:
    first = block[at]
    if first & _INDEXED:
        return _number(block, at, 0x7F)[1]
    if first & _INDEXING:
        return _literal(block, at, 0x3F)
    if first & _SIZE_UPDATE:
        raise NotCut
    return _literal(block, at, 0x0F)


def _literal(block: bytes, at: int, most: int) -> int:
    name, at = _number(block, at, most)
    return _string(block, at if name else _string(block, at))


def _string(block: bytes, at: int) -> int:
    size, at = _number(block, at, 0x7F)
    return at + size


def _number(block: bytes, at: int, most: int) -> tuple[int, int]:
    """An integer under the bits of `most`, and where it ends. Longer ones than any field of ours has are not read."""
    if at >= len(block):
        raise NotCut
    value = block[at] & most
    if value < most:
        return value, at + 1
    for shift, byte in zip((0, 7, 14), block[at + 1 : at + 4], strict=False):
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at + 2 + shift // 7
    raise NotCut
