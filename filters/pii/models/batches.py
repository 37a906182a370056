"""Which segments a worker is asked for at once: some of nearly one length, which a classifier reads in one run."""

from collections.abc import Sequence

BYTES = 700
"""Of one batch, but for halves of a segment at either end: some 13 ms of Rampart, which a short text may have to wait for.

English has four bytes a token, Chinese three, digits two. With 500 a run costs a twentieth more a token.
"""


def sizes(texts: Sequence[str]) -> Sequence[int]:
    """The bytes of each. To count its tokens would take a thirtieth of the time that a model needs for them."""
    return [len(text.encode("utf-8", "surrogatepass")) for text in texts]


def cut(lengths: Sequence[int]) -> Sequence[Sequence[int]]:
    """Indices in batches of neighbours by length, each as long as the others, or of one segment that is longer."""
    whole = max(1, sum(lengths))
    number = -(-whole // BYTES)
    batches: list[list[int]] = [[] for _ in range(number)]
    before = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        middle = before + lengths[index] // 2
        batches[min(middle * number // whole, number - 1)].append(index)
        before += lengths[index]
    return [batch for batch in batches if batch]
