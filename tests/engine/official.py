"""tiktoken without its downloads: toktok's wheel has the vocabularies, and tiktoken the hashes they must have."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from unittest.mock import patch

import tiktoken
import toktok
from tiktoken_ext import openai_public  # type: ignore[import-untyped]  # carries none

SIZES = {"cl100k_base": 100_256, "o200k_base": 199_998, "o200k_harmony": 199_998}
"""Ranks in each vocabulary file; special tokens come after them."""


@cache
def official(encoding: str) -> tiktoken.Encoding:
    """tiktoken's own encoding, its pattern and its algorithm. Raises AssertionError for a vocabulary that is not OpenAI's."""

    def load(url: str, expected_hash: str | None = None) -> Mapping[bytes, int]:
        ranks = _ranks(encoding)
        lines = (base64.b64encode(token) + b" %d\n" % rank for token, rank in ranks.items())
        assert hashlib.sha256(b"".join(lines)).hexdigest() == expected_hash, f"{encoding} is not the vocabulary of {url}"
        return ranks

    with patch.object(openai_public, "load_tiktoken_bpe", load):
        return tiktoken.Encoding(**openai_public.ENCODING_CONSTRUCTORS[encoding]())


def _ranks(encoding: str) -> Mapping[bytes, int]:
    tokenizer = toktok._encoding(encoding)
    return {tokenizer.decode_single_token_bytes(rank): rank for rank in range(SIZES[encoding])}


def count(text: str, encoding: str) -> int:
    return len(official(encoding).encode(text, disallowed_special=()))
