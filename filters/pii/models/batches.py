"""Which segments a worker is asked for at once: some of nearly as many tokens, which a classifier reads in one run."""

from collections.abc import Callable, Sequence
from pathlib import Path

from headrace.filters.pii.models.frames import encodable
from headrace.filters.pii.models.names import Model

TOKENS = 128
"""Of one batch, but for halves of a segment at either end: some 10 ms of Rampart, which a short text may have to wait for.

With more a run costs as much a token.
"""

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


def cut(lengths: Sequence[int]) -> Sequence[Sequence[int]]:
    """Indices in batches of neighbours by length, each of as many tokens as the others, or of one segment that has more."""
    tokens = max(1, sum(lengths))
    number = -(-tokens // TOKENS)
    batches: list[list[int]] = [[] for _ in range(number)]
    before = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        middle = before + lengths[index] // 2
        batches[min(middle * number // tokens, number - 1)].append(index)
        before += lengths[index]
    return [batch for batch in batches if batch]
