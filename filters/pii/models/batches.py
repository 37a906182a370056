"""Which segments a worker is asked for at once: some of as many tokens, which a classifier reads in one run."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from headrace.filters.pii.models.frames import encodable
from headrace.filters.pii.models.names import Model

TOKENS = 128
"""Of one batch: some 10 ms of Rampart, which a short text may have to wait for. With more a run costs as much a token."""

Measure = Callable[[Sequence[str]], Sequence[int]]
"""Texts → the tokens of each."""

_CHARACTERS_A_TOKEN = 4


def measure_of(models: Sequence[Model]) -> Measure:
    """How the first classifier counts; an estimate where there is none. Raises what its package raises for a broken tokenizer."""
    for model in models:
        if model.kind == "onnx":
            return _counted(Path(model.source))
    return lambda texts: [len(text) // _CHARACTERS_A_TOKEN + 1 for text in texts]


def _counted(directory: Path) -> Measure:
    from headrace.filters.pii.models.tokens import tokenizer_of

    tokenizer = tokenizer_of(directory)

    def measure(texts: Sequence[str]) -> Sequence[int]:
        # in a batch, so that Python's lock is free meanwhile
        return [len(each) for each in tokenizer.encode_batch_fast([encodable(text) for text in texts])]

    return measure


def cut(lengths: Sequence[int]) -> list[Sequence[int]]:
    """Indices in batches of at most `TOKENS`, or of one; those of one length together as far as they fill a batch."""
    alike: defaultdict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        alike[length].append(index)
    full: list[Sequence[int]] = []
    rest: list[int] = []
    for length, indices in sorted(alike.items()):
        most = max(1, TOKENS // max(1, length))
        whole = len(indices) - len(indices) % most
        full.extend(indices[start : start + most] for start in range(0, whole, most))
        rest.extend(indices[whole:])
    return [*full, *_filled(rest, lengths)]


def _filled(indices: Sequence[int], lengths: Sequence[int]) -> Iterator[Sequence[int]]:
    batch: list[int] = []
    tokens = 0
    for index in indices:
        if batch and tokens + lengths[index] > TOKENS:
            yield batch
            batch, tokens = [], 0
        batch.append(index)
        tokens += lengths[index]
    if batch:
        yield batch
