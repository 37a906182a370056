"""Small files of the formats that operators give: Hugging Face's tokenizer.json and Mistral's tekken.json."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers


def words(fold: bool = False, rare: Sequence[str] = ()) -> str:
    """A tokenizer.json whose tokens are words. fold: capitals are small letters to it; rare: further words it knows."""
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(["?", "hello", "world", *rare])}, "?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if fold:
        tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer.to_str()


PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""That of every tekken.json that Mistral has published."""

MERGES = ["th", "the", " t", " th", " the", "ou", "you", "in", "ing", "er", "  ", "\n\n", '":', ' "', '{"', '"}', "na", "name", "é"]
UNUSED = ["an", "on"]
"""Beyond what the default vocabulary has room for."""
SPECIAL = 60
SETTINGS = {
    "reasoning_effort": {"type": "enum", "values": ["none", "high"], "accepts_none": True, "default": "none"},
    "json_schema": {"type": "json_schema", "accepts_none": False, "default": None},
}
"""What models of v15 are told."""


def tekken(version: str = "v7", **config: Any) -> dict[str, Any]:
    """A tekken.json of 256 bytes and some merges, as a document. config: other values of that member."""
    known = [bytes([byte]) for byte in range(256)] + [text.encode() for text in MERGES]
    tokens = [*known, *(text.encode() for text in UNUSED)]
    builder = {"model_settings_builder": SETTINGS} if version == "v15" else {}
    return {
        **builder,
        "config": {
            "pattern": PATTERN,
            "num_vocab_tokens": len(tokens),
            "default_vocab_size": len(known) + SPECIAL,
            "default_num_special_tokens": SPECIAL,
            "version": version,
            **config,
        },
        "vocab": [
            {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None} for rank, token in enumerate(tokens)
        ],
    }


def write(path: Path, document: Any) -> Path:
    """document: the text, or what is to be JSON."""
    path.write_text(document if isinstance(document, str) else json.dumps(document), "utf-8")
    return path
