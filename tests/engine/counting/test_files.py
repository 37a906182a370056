"""Tokenizer files: real ones count as their libraries do, and whatever else is in a file is named."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from headrace.ext_proc.engine.counting import files
from headrace.ext_proc.engine.counting.counter import Counter
from headrace.ext_proc.engine.counting.files import from_file
from headrace.ext_proc.engine.counting.huggingface import huggingface
from headrace.ext_proc.engine.counting.tekken import tekken as counter_of
from tests.tokenizer_files import MERGES, PATTERN, tekken, words, write

TEXTS = st.text(max_size=60) | st.lists(st.sampled_from([*MERGES, " you", "naming", "東京", "\n", " " * 9, "\ud800"])).map("".join)


def oracle() -> tiktoken.Encoding:
    ranks = {bytes([byte]): byte for byte in range(256)} | {text.encode(): 256 + at for at, text in enumerate(MERGES)}
    return tiktoken.Encoding("oracle", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})


@given(text=TEXTS)
@settings(max_examples=200, deadline=None)
def test_a_tekken_file_counts_as_tiktoken_does(text: str) -> None:
    expected = len(oracle().encode(text, disallowed_special=()))
    assert COUNTER([text]) == expected
    assert COUNTER.most is not None and expected <= COUNTER.most(text)


COUNTER: Counter = counter_of(json.dumps(tekken()).encode())


def test_what_the_default_vocabulary_has_no_room_for_is_no_token() -> None:
    assert COUNTER(["an"]) == 2
    assert counter_of(json.dumps(tekken(default_num_special_tokens=58)).encode())(["an"]) == 1


def test_more_blanks_than_the_pattern_can_look_ahead_are_counted_in_pieces() -> None:
    blanks = " " * 1_000_000
    with pytest.raises(ValueError, match="stack"):
        oracle().encode(blanks, disallowed_special=())
    assert 500_000 <= COUNTER([blanks]) <= 500_000 + 64


def version(path: Path) -> int:
    frames = from_file(path).frames
    assert frames is not None
    return frames.version


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", tekken("v3"))
    assert version(path) == 3 and from_file(path) is from_file(path)
    write(path, tekken("v11"))
    assert version(path) == 11
    write(path, words())
    assert from_file(path)(["hello world again"]) == 3


def broken(**members: Any) -> dict[str, Any]:
    return {**tekken(), **members}


def vocabulary(at: int, **members: Any) -> dict[str, Any]:
    file = tekken()
    file["vocab"][at] |= members
    return file


BAD: list[tuple[Any, str]] = [
    ("", "no JSON object"),
    ("[]", "no JSON object"),
    ("\ud800".encode("utf-8", "surrogatepass"), "no JSON object"),
    ("{}", "neither Hugging Face's, which has a `model`, nor Mistral's"),
    ({"model": {}}, "no tokenizer.json"),
    ({"model": {"type": "BPE"}, "version": "9"}, "no tokenizer.json"),
    ({"config": {}, "vocab": []}, "no tekken.json: Object missing required field `pattern` - at `$.config`"),
    (broken(vocab=[{"rank": "x", "token_bytes": ""}]), "no tekken.json: Expected `int`, got `str` - at `$.vocab[0].rank`"),
    (tekken("v99"), "config.version: 'v99' is none of v3, v7, v11, v13, v15"),
    (tekken(default_vocab_size=10**9), "it must be from 256 to the vocabulary's 277"),
    (tekken(default_num_special_tokens=10**9), "it must be from 256 to the vocabulary's 277"),
    (vocabulary(3, token_bytes="?"), "vocab[3].token_bytes: '?' is not base64"),
    (vocabulary(3, token_bytes="é"), "vocab[3].token_bytes: 'é' is not base64"),
    (vocabulary(3, rank=4), "must differ, with the ranks from 0 to 274"),
    (vocabulary(3, token_bytes="AA=="), "must differ, with the ranks from 0 to 274"),
    (vocabulary(3, token_bytes="AAAA"), "no token of its own for the byte 0x03"),
    (tekken(pattern="("), "config.pattern: "),
    (tekken(pattern=""), "config.pattern: cannot be used"),
    (tekken(pattern="x*"), "config.pattern: cannot be used"),
    (tekken(pattern="[a-z]+"), "config.pattern: does not match every character"),
]


@pytest.mark.parametrize(("document", "wrong"), BAD, ids=[wrong for _, wrong in BAD])
def test_a_file_that_is_none_says_what_is_wrong(tmp_path: Path, document: Any, wrong: str) -> None:
    path = tmp_path / "t.json"
    if isinstance(document, bytes):
        path.write_bytes(document)
    else:
        write(path, document)
    with pytest.raises(ValueError) as raised:
        from_file(path)
    assert str(raised.value).startswith(f"{path} is no tokenizer: ") and wrong in str(raised.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    with path.open("wb") as file:
        os.truncate(file.fileno(), files.MAX_BYTES + 1)
    with pytest.raises(ValueError, match="has more than 64 MiB"):
        from_file(path)


@given(content=st.binary(max_size=40) | st.recursive(st.none() | st.integers() | st.text(max_size=4), st.lists).map(json.dumps))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_tokenizer_or_none(content: bytes | str) -> None:
    with pytest.raises(ValueError):
        files._tokenizer(content if isinstance(content, bytes) else content.encode())


def pipeline(normalizer: Any = None, pre_tokenizer: Any = None) -> Counter:
    tokenizer = Tokenizer(models.BPE({"?": 0}, [], unk_token="?", fuse_unk=False))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    return huggingface(tokenizer.to_str().encode())


BOUNDED = [
    (None, None),
    (normalizers.NFC(), None),
    (normalizers.Sequence([normalizers.NFC()]), pre_tokenizers.Whitespace()),
    (None, pre_tokenizers.ByteLevel(add_prefix_space=True)),
    (None, pre_tokenizers.Sequence([pre_tokenizers.Metaspace()])),
]


@given(text=st.text(max_size=30) | st.text("\u0958\U0001d160é", max_size=9))
@settings(max_examples=100, deadline=None)
def test_no_text_has_more_tokens_than_its_bound(text: str) -> None:
    for normalizer, pre_tokenizer in BOUNDED:
        counter = pipeline(normalizer, pre_tokenizer)
        assert counter.most is not None and counter([text]) <= counter.most(text)


@pytest.mark.parametrize("normalizer", [normalizers.NFKC(), normalizers.Prepend("▁"), normalizers.Sequence([normalizers.NFKD()])])
def test_a_normalizer_that_may_add_anything_has_no_bound(normalizer: Any) -> None:
    assert pipeline(normalizer).most is None
