"""Hugging Face's tokenizer.json, by its own library."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from tokenizers import Tokenizer

from headrace.ext_proc.engine.counting.counter import Counter, Most, composed, encodable, no_panic, utf8_bytes

INLINE: Final = 2 * 1024
"""Characters; at 3 MB/s."""


def huggingface(content: bytes) -> Counter:
    """Raises ValueError for what the library does not take."""
    try:
        with no_panic():
            tokenizer = Tokenizer.from_str(content.decode("utf-8"))
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"no tokenizer.json: {error}") from error

    def count(texts: Sequence[str]) -> int:
        # The batch call is the one that releases the GIL.
        with no_panic():
            return sum(map(len, tokenizer.encode_batch_fast([encodable(text) for text in texts], False)))

    return Counter(count, _most(msgspec.json.decode(content)), INLINE)


def _most(document: Mapping[str, Any]) -> Most | None:
    """A normalizer may make a text longer; of those only NFC is bounded here. Others, such as Llama 2's, make any number."""
    if any(part.get("type") not in ("NFC", "Sequence") for part in _parts(document.get("normalizer"))):
        return None
    form = composed if document.get("normalizer") else str
    blank = any(map(_adds_a_blank, _parts(document.get("pre_tokenizer"))))
    return lambda text: utf8_bytes(form(text)) + blank


def _parts(step: Any) -> Iterator[Mapping[str, Any]]:
    """A step of the pipeline, and those it consists of."""
    if isinstance(step, dict):
        yield step
        for name in ("normalizers", "pretokenizers"):
            for part in step.get(name, ()):
                yield from _parts(part)


def _adds_a_blank(part: Mapping[str, Any]) -> bool:
    """At the beginning of a text."""
    return part.get("type") == "Metaspace" or bool(part.get("add_prefix_space"))
