"""A token classifier in ONNX with its tokenizer: what every word of a text is, and how sure the model is of it.

One text a run, never padded: int8 activations are scaled per run, so that a text's findings would depend on its neighbours in a
batch, and an answer that comes in pieces would be scrubbed differently from one that comes whole.
"""

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

from headrace.filters.pii.models.compose import Word, compose
from headrace.filters.pii.models.int8 import in_int8
from headrace.filters.pii.models.labels import entity_of
from headrace.filters.pii.spans import Span

MAX_TOKENS = 512
OVERLAP = 64
"""Tokens that two windows of a text beyond `MAX_TOKENS` share; segments are shorter, but for runs without any blank."""

OTHER = "O"


class TokenClassifier:
    """directory: config.json (id2label) and tokenizer.json in Hugging Face's layout. model: the ONNX file.

    Raises OSError, KeyError, ValueError and whatever the runtime raises for files that are no such model.
    """

    def __init__(self, directory: Path, model: Path) -> None:
        config = json.loads((directory / "config.json").read_text("utf-8"))
        labels = [config["id2label"][str(index)] for index in range(len(config["id2label"]))]
        self.entities = tuple(sorted({entity for label in labels if (entity := entity_of(label))}))
        self._columns = [entity_of(label) or OTHER for label in labels]
        self._names = sorted(set(self._columns))
        self._grouping = np.array([[column == name for name in self._names] for column in self._columns], dtype=np.float32)
        self._limit = min(int(config.get("max_position_embeddings", MAX_TOKENS)), MAX_TOKENS)
        self._tokenizer = _tokenizer(directory / "tokenizer.json")
        self._session = _session(in_int8(model.read_bytes()))
        self._last: tuple[str, Sequence[Word]] = "", ()
        self._inputs = [each.name for each in self._session.get_inputs()]

    def find(self, text: str) -> Sequence[Span]:
        """The findings in one segment, by place and apart from each other."""
        self._last = text, self.words(text)
        return compose(text, self._last[1])

    def support(self, text: str, span: Span) -> float:
        """The highest probability of a word of the span, in the text last searched, that it is an entity of any kind."""
        assert self._last[0] == text, "support is asked for after the text was searched"
        return max((word.score for word in self._last[1] if word.start < span.end and span.start < word.end), default=0.0)

    def words(self, text: str) -> Sequence[Word]:
        """Every word the tokenizer knows apart, in order."""
        encoding = self._tokenizer.encode(text)
        if len(encoding.ids) <= self._limit:
            return list(self._words(encoding, self._probabilities(encoding.ids)))
        return [word for start, piece in _pieces(text, encoding, self._limit) for word in _moved(self.words(piece), start)]

    def _probabilities(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """(tokens, entities): the sum over each entity's labels."""
        row = np.array([ids], dtype=np.int64)
        given = {"input_ids": row, "attention_mask": np.ones_like(row), "token_type_ids": np.zeros_like(row)}
        (logits, *_) = self._session.run(None, {name: given[name] for name in self._inputs})
        exponentials = np.exp(logits[0] - logits[0].max(axis=-1, keepdims=True))
        probabilities: NDArray[np.float32] = exponentials @ self._grouping / exponentials.sum(axis=-1, keepdims=True)
        return probabilities

    def _words(self, encoding: Encoding, probabilities: NDArray[np.float32]) -> Iterator[Word]:
        """A word is what its tokens are on average."""
        other = self._names.index(OTHER)
        offsets = encoding.offsets
        for word, group in groupby(enumerate(encoding.word_ids), key=lambda each: each[1]):
            if word is None:
                continue
            tokens = [index for index, _ in group]
            mean = probabilities[tokens].mean(axis=0)
            sure = 1.0 - float(mean[other])
            mean[other] = -1.0
            yield Word(offsets[tokens[0]][0], offsets[tokens[-1]][1], self._names[int(mean.argmax())], sure)


def _moved(words: Sequence[Word], by: int) -> Iterator[Word]:
    return (word._replace(start=word.start + by, end=word.end + by) for word in words)


def _pieces(text: str, encoding: Encoding, limit: int) -> Iterator[tuple[int, str]]:
    """Pieces of a text that has too many tokens, each with its start. Half the limit: cutting may change the tokens."""
    ends = [end for _, end in encoding.offsets if end]
    start = 0
    while start < len(ends):
        first = ends[start - 1] if start else 0
        yield first, text[first : ends[min(start + limit // 2, len(ends)) - 1]]
        if start + limit // 2 >= len(ends):
            return
        start += limit // 2 - OVERLAP


def _tokenizer(path: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def _session(model: bytes) -> Any:
    """On one core: workers are processes, one a core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
