"""What the simulated models say, token by token (encoding o200k_base)."""

import codecs
from collections.abc import Iterator
from itertools import cycle, islice
from typing import NamedTuple

import toktok

ENCODING = "o200k_base"

# Every word is one token, at the start of a text and after a blank; blanks before letters always begin a new token.
VOCABULARY = (
    *("water", "over", "the", "wheel", "and", "stone", "mill", "light", "while", "river"),
    *("level", "flow", "power", "for", "every", "small", "house", "down", "there"),
)


class Piece(NamedTuple):
    """A run of text and how many tokens it took."""

    text: str
    tokens: int


def count(text: str) -> int:
    """Tokens of `text`; the names of special tokens count as ordinary text."""
    counts: list[int] = toktok.batch_count((text,), ENCODING)
    return counts[0]


def babble(tokens: int, start: int = 0) -> tuple[Piece, ...]:
    """`tokens` words beginning with the `start`-th of the vocabulary, one token each."""
    words = islice(cycle(VOCABULARY), start, start + tokens)
    return tuple(Piece(f" {word}" if at else word, 1) for at, word in enumerate(words))


def spell(text: str) -> tuple[Piece, ...]:
    """`text` cut at its token boundaries. Tokens that end inside a character are joined with the next."""
    return tuple(_characters(text))


def _characters(text: str) -> Iterator[Piece]:
    encoding = toktok._encoding(ENCODING)  # the package's way to the ids; its public functions only count
    decoder = codecs.getincrementaldecoder("utf-8")()
    waiting = 0
    for token in encoding.encode_ordinary(text):
        waiting += 1
        if piece := decoder.decode(encoding.decode_single_token_bytes(token)):
            yield Piece(piece, waiting)
            waiting = 0


def cut(pieces: tuple[Piece, ...], cap: int | None) -> tuple[Piece, ...]:
    """The longest beginning of `pieces` that has at most `cap` tokens."""
    if cap is None:
        return pieces
    total = 0
    for at, piece in enumerate(pieces):
        total += piece.tokens
        if total > cap:
            return pieces[:at]
    return pieces


def join(pieces: tuple[Piece, ...]) -> str:
    """The text the pieces make up."""
    return "".join(piece.text for piece in pieces)


def total(pieces: tuple[Piece, ...]) -> int:
    """The tokens the pieces make up."""
    return sum(piece.tokens for piece in pieces)
