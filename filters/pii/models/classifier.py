"""A token classifier in ONNX with its tokenizer: what every word of a text is, and how sure the model is of it.

Never padded, in a run with other texts only where attention keeps them apart, and where activations are rounded by fixed scales: so
a text's findings do not depend on its neighbours, and an answer that comes in pieces is scrubbed like one that comes whole.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from headrace.filters.pii.models.compose import Word, compose
from headrace.filters.pii.models.fused import fuse
from headrace.filters.pii.models.int8 import in_int8
from headrace.filters.pii.models.labels import entity_of
from headrace.filters.pii.models.onnx_format import parsed
from headrace.filters.pii.models.outcome import give_probabilities
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
        grouping = np.array([[column == name for name in self._names] for column in columns], dtype=np.float32)
        self._limit = min(int(config.get("max_position_embeddings", MAX_TOKENS)), MAX_TOKENS)
        self._tokenizer = tokenizer_of(directory)
        self._session = _quick(model.read_bytes(), config, grouping, lambda text: self._tokenizer.encode(text).ids)
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
        short = [index for index, encoding in enumerate(encodings) if 0 < len(encoding) <= self._limit]
        order: list[int] = []
        probabilities: list[NDArray[np.float32]] = []
        for run, outputs in self._session.run([encodings[index].ids for index in short]):
            order += [short[each] for each in run]
            probabilities.append(outputs[0])
        found: list[Sequence[Word]] = [()] * len(texts)
        if order:
            in_order = [encodings[index] for index in order]
            for index, words in zip(order, self._read(in_order, np.concatenate(probabilities)), strict=True):
                found[index] = words
        for index, encoding in enumerate(encodings):
            if len(encoding) > self._limit:
                pieces = list(_pieces(texts[index], encoding, self._limit))
                read = self._words([piece for _, piece in pieces])
                found[index] = [word for (start, _), words in zip(pieces, read, strict=True) for word in _moved(words, start)]
        return found

    def _read(self, encodings: Sequence[Encoding], probabilities: NDArray[np.float32]) -> Iterator[Sequence[Word]]:
        """A word is what its tokens are on average. probabilities: (tokens, entities), of all texts one behind the other."""
        pieces = [list(_words_of(encoding)) for encoding in encodings]
        counts = [piece.tokens for text in pieces for piece in text]
        means = np.add.reduceat(probabilities, [0, *accumulate(counts[:-1])], axis=0) / np.array(counts)[:, None]
        sure = (1.0 - means[:, self._other]).tolist()
        means[:, self._other] = -1.0
        read = zip(means.argmax(axis=1).tolist(), sure, strict=True)
        for text in pieces:
            labelled = zip(text, islice(read, len(text)), strict=True)
            yield [
                Word(piece.start, piece.end, self._names[entity], score) for piece, (entity, score) in labelled if not piece.special
            ]


class _Piece(NamedTuple):
    """Tokens of a text that are one word, and where it is; or one that stands for no text."""

    start: int
    end: int
    tokens: int
    special: bool


def _words_of(encoding: Encoding) -> Iterator[_Piece]:
    tokens = zip(encoding.word_ids, encoding.offsets, strict=True)
    for number, group in groupby(tokens, key=itemgetter(0)):
        places = [place for _, place in group]
        yield _Piece(places[0][0], places[-1][1], len(places), number is None)


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


def _quick(data: bytes, config: Mapping[str, Any], grouping: NDArray[np.float32], ids: Callable[[str], Ids]) -> Session:
    """A session of a model, its 4-bit products and BERT's layers computed faster. ids: the tokens of a text."""
    model = parsed(data)
    in_int8(model.graph)
    together = fuse(model.graph, config)
    if together:
        watched = parsed(model.SerializeToString())
        names = expose(watched.graph)
        session = Session(watched, together=True)
        fix(model.graph, observed(names, lambda text: next(session.run([ids(text)]))[1]))
    give_probabilities(model.graph, grouping)
    return Session(model, together=together)
