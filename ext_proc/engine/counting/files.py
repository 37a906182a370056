"""Tokenizers from the operator's files: Hugging Face's tokenizer.json and Mistral's tekken.json, told apart by what is in them."""

from functools import lru_cache
from pathlib import Path
from typing import Final

import msgspec

from headrace.ext_proc.core.json_body import NO_JSON
from headrace.ext_proc.engine.counting.counter import Counter
from headrace.ext_proc.engine.counting.huggingface import huggingface
from headrace.ext_proc.engine.counting.tekken import tekken

MAX_BYTES: Final = 64 * 1024 * 1024
"""Gemma's tokenizer.json, the largest in use, has 33 MB; a file is held in memory several times over while it is read."""


class _Kind(msgspec.Struct):
    """What tells the formats apart; other members may be anything."""

    model: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    config: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    vocab: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def from_file(path: Path) -> Counter:
    """Raises OSError for a file that cannot be read, ValueError, with the path and what is wrong, for one that is no tokenizer.

    A file that was changed is read anew.
    """
    found = path.stat()
    return _loaded(path, (found.st_ino, found.st_mtime_ns, found.st_size))


@lru_cache(16)
def _loaded(path: Path, stamp: tuple[int, ...]) -> Counter:
    content = read_at_most(path, MAX_BYTES)
    try:
        return _tokenizer(content)
    except ValueError as error:
        raise ValueError(f"{path} is no tokenizer: {error}") from error


def read_at_most(path: Path, most: int) -> bytes:
    """The file's bytes. Raises OSError, and ValueError for one with more than `most`."""
    with path.open("rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{path} has more than {most >> 20} MiB")
    return content


def _tokenizer(content: bytes) -> Counter:
    try:
        kind = msgspec.json.decode(content, type=_Kind)
    except NO_JSON as error:
        raise ValueError(f"no JSON object: {error}") from None
    if kind.vocab is not msgspec.UNSET and kind.config is not msgspec.UNSET:
        return tekken(content)
    if kind.model is msgspec.UNSET:
        raise ValueError("neither Hugging Face's, which has a `model`, nor Mistral's, which has a `config` and a `vocab`")
    return huggingface(content)
