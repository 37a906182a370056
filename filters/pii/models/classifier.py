"""A token classifier in ONNX with its tokenizer: what every word of a text is, and how sure the model is of it.

Never padded, in a run with other texts only where attention keeps them apart, and where activations are rounded by fixed scales: so
a text's findings do not depend on its neighbours, and an answer that comes in pieces is scrubbed like one that comes whole.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from headrace.filters.pii.models.compose import Word, compose
from headrace.filters.pii.models.fused import fuse
from headrace.filters.pii.models.int8 import in_int8
from headrace.filters.pii.models.labels import entity_of
from headrace.filters.pii.models.onnx_format import parsed
from headrace.filters.pii.models.runs import Ids, Session
from headrace.filters.pii.models.scales import expose, fix, observed
from headrace.filters.pii.models.tokens import tokenizer_of
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
        columns = [entity_of(label) or OTHER for label in labels]
        self._names = sorted(set(columns))
        self._other = self._names.index(OTHER)
        self._grouping = np.array([[column == name for name in self._names] for column in columns], dtype=np.float32)
        self._limit = min(int(config.get("max_position_embeddings", MAX_TOKENS)), MAX_TOKENS)
        self._tokenizer = tokenizer_of(directory)
        self._session = _quick(model.read_bytes(), config, lambda text: self._tokenizer.encode(text).ids)
        self._last: Mapping[str, Sequence[Word]] = {}

    def find(self, texts: Sequence[str]) -> Sequence[Sequence[Span]]:
        """The findings in each of some segments, by place and apart from each other."""
        self._last = dict(zip(texts, self._words(texts), strict=True))
        return [compose(text, self._last[text]) for text in texts]

    def support(self, text: str, span: Span) -> float:
        """The highest probability of a word of the span, in a text of those last searched, that it is an entity of any kind."""
        return max((word.score for word in self._last[text] if word.start < span.end and span.start < word.end), default=0.0)

    def _words(self, texts: Sequence[str]) -> Sequence[Sequence[Word]]:
        """Every word the tokenizer knows apart, in order, in each text."""
        encodings = [self._tokenizer.encode(text) for text in texts]
        short = [index for index, encoding in enumerate(encodings) if 0 < len(encoding.ids) <= self._limit]
        order: list[int] = []
        logits: list[NDArray[np.float32]] = []
        for run, outputs in self._session.run([encodings[index].ids for index in short]):
            order += [short[each] for each in run]
            logits.append(outputs[0])
        found: list[Sequence[Word]] = [()] * len(texts)
        if order:
            probabilities = self._probabilities(np.concatenate(logits))
            for index, words in zip(order, self._read([encodings[index] for index in order], probabilities), strict=True):
                found[index] = words
        for index, encoding in enumerate(encodings):
            if len(encoding.ids) > self._limit:
                pieces = list(_pieces(texts[index], encoding, self._limit))
                read = self._words([piece for _, piece in pieces])
                found[index] = [word for (start, _), words in zip(pieces, read, strict=True) for word in _moved(words, start)]
        return found

    def _probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """(tokens, entities): the sum over each entity's labels."""
        exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
        probabilities: NDArray[np.float32] = exponentials @ self._grouping / exponentials.sum(axis=-1, keepdims=True)
        return probabilities

    def _read(self, encodings: Sequence[Encoding], probabilities: NDArray[np.float32]) -> Iterator[Sequence[Word]]:
        """A word is what its tokens are on average. probabilities: (tokens, entities), of all texts one behind the other.

        All texts in one pass: after a run the cache is full of weights, and each call of numpy's is as slow as a first one.
        """
        numbers = [-1 if number is None else number for encoding in encodings for number in encoding.word_ids]
        of = np.array(numbers)
        ends = np.cumsum([len(encoding.ids) for encoding in encodings])
        firsts = np.union1d(np.flatnonzero(of[1:] != of[:-1]) + 1, np.concatenate(([0], ends[:-1])))
        counts = np.concatenate((firsts[1:], [len(numbers)])) - firsts
        means = np.add.reduceat(probabilities, firsts, axis=0) / counts[:, None]
        sure = (1.0 - means[:, self._other]).tolist()
        means[:, self._other] = -1.0
        words = zip(firsts.tolist(), counts.tolist(), means.argmax(axis=1).tolist(), sure, strict=True)
        offsets = [offset for encoding in encodings for offset in encoding.offsets]
        found: list[Word] = []
        texts = iter(ends.tolist())
        end = next(texts)
        for first, count, entity, score in words:
            while first >= end:
                yield found
                found, end = [], next(texts)
            if numbers[first] >= 0:
                found.append(Word(offsets[first][0], offsets[first + count - 1][1], self._names[entity], score))
        yield found


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


def _quick(data: bytes, config: Mapping[str, Any], ids: Callable[[str], Ids]) -> Session:
    """A session of a model, its 4-bit products and BERT's layers computed faster. ids: the tokens of a text."""
    model = parsed(data)
    in_int8(model.graph)
    if not fuse(model.graph, config):
        return Session(model, together=False)
    watched = parsed(model.SerializeToString())
    names = expose(watched.graph)
    session = Session(watched, together=True)
    fix(model.graph, observed(names, lambda text: next(session.run([ids(text)]))[1]))
    return Session(model, together=True)
