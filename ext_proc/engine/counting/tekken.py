"""Mistral's tekken.json, by tiktoken: byte pairs, of which the first that the default vocabulary has room for are in use.

Format: mistral_common/tokens/tokenizers/tekken.py.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import tiktoken

from headrace.ext_proc.core.json_body import NO_JSON
from headrace.ext_proc.engine.counting.counter import Counter, Frames, encodable, no_panic, utf8_bytes

INLINE: Final = 8 * 1024
"""Characters; at 25 MB/s."""

VERSIONS: Final = ("v3", "v7", "v11", "v13", "v15")
"""Whose frames are known; v1 and v2 were never tekken's."""

_SAMPLE: Final = "Straße 12\n\n  \t東京 🧑‍🚀 don't"
_PIECE: Final = 16 * 1024
"""Characters in which a text is counted whose blanks are too many for the pattern's look-ahead. A cut adds a token at most."""


class _Config(msgspec.Struct):
    pattern: str
    default_vocab_size: int
    default_num_special_tokens: int
    version: str = ""


class _Token(msgspec.Struct):
    rank: int
    token_bytes: str


class _Effort(msgspec.Struct):
    default: str = ""


class _Settings(msgspec.Struct):
    reasoning_effort: _Effort | None = None
    json_schema: dict[str, msgspec.Raw] | None = None


class _File(msgspec.Struct):
    config: _Config
    vocab: list[_Token]
    model_settings_builder: _Settings | None = None

    @property
    def frames(self) -> Frames:
        told = self.model_settings_builder or _Settings()
        effort = told.reasoning_effort.default if told.reasoning_effort else ""
        return Frames(int(self.config.version.removeprefix("v")), effort, told.json_schema is not None)


def tekken(content: bytes) -> Counter:
    """Raises ValueError that says what is wrong."""
    try:
        file = msgspec.json.decode(content, type=_File)
    except NO_JSON as error:
        raise ValueError(f"no tekken.json: {error}") from None
    if file.config.version not in VERSIONS:
        raise ValueError(f"config.version: {file.config.version!r} is none of {', '.join(VERSIONS)}")
    encoding = _encoding(file.config.pattern, _ranks(file))

    def count(texts: Sequence[str]) -> int:
        return sum(_count(encoding, encodable(text)) for text in texts)

    return Counter(count, utf8_bytes, INLINE, file.frames)


def _ranks(file: _File) -> Mapping[bytes, int]:
    """Bytes to rank: as many as are left of the default size beside the special tokens, without a gap, every byte among them."""
    used = file.config.default_vocab_size - file.config.default_num_special_tokens
    if not 256 <= used <= len(file.vocab):
        raise ValueError(
            f"config: default_vocab_size less default_num_special_tokens is {used}; "
            f"it must be from 256 to the vocabulary's {len(file.vocab)}"
        )
    ranks = {_bytes(token, index): token.rank for index, token in enumerate(file.vocab[:used])}
    if len(ranks) != used or set(ranks.values()) != set(range(used)):
        raise ValueError(f"vocab: the first {used} tokens must differ, with the ranks from 0 to {used - 1}")
    if missing := [byte for byte in range(256) if bytes([byte]) not in ranks]:
        raise ValueError(f"vocab: no token of its own for the byte {missing[0]:#04x}")
    return ranks


def _bytes(token: _Token, index: int) -> bytes:
    try:
        return base64.b64decode(token.token_bytes, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"vocab[{index}].token_bytes: {token.token_bytes[:40]!r} is not base64") from None


def _encoding(pattern: str, ranks: Mapping[bytes, int]) -> tiktoken.Encoding:
    """Raises ValueError for a pattern that is none, or that loses what it does not match."""
    try:
        with no_panic():
            encoding = tiktoken.Encoding("tekken", pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens={})
        kept = encoding.decode(_tokens(encoding, _SAMPLE))
    except ValueError as error:
        raise ValueError(f"config.pattern: {error}") from None
    if kept != _SAMPLE:
        raise ValueError("config.pattern: does not match every character of a text")
    return encoding


def _count(encoding: tiktoken.Encoding, text: str) -> int:
    try:
        return len(_tokens(encoding, text))
    except ValueError:
        if len(text) <= _PIECE:
            raise
    return sum(_count(encoding, text[at : at + _PIECE]) for at in range(0, len(text), _PIECE))


def _tokens(encoding: tiktoken.Encoding, text: str) -> list[int]:
    """Raises ValueError for what the pattern cannot match."""
    with no_panic():
        return encoding.encode(text, disallowed_special=())
