"""What a model is given at once: as many texts as it reads in one run without one of them making a difference to another."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from headrace.filters.pii.models.embeddings import POSITIONS, TOKENS
from headrace.filters.pii.models.fused import GROUPS

RUN_TOKENS = 256
"""With some hundred the weights are read once for all of them, with more the activations leave the cache."""

Ids = Sequence[int]
"""The tokens of a text, at least one."""
Group = Sequence[int]
"""Indices of texts with as many tokens."""
_NO_TEXT = np.zeros((1, 1), np.int64)


class Session:
    """A model of the runtime's. together: it was written anew for several texts in a run."""

    def __init__(self, model: Any, *, together: bool) -> None:
        self._session = _on_one_core(model)
        self._inputs = [each.name for each in self._session.get_inputs()]
        self._together = together

    def run(self, texts: Sequence[Ids]) -> Iterator[tuple[Group, Sequence[NDArray[np.float32]]]]:
        """The texts of each run, and for all their tokens, one behind the other, the outputs of the model: (tokens, width)."""
        for groups in _runs([len(text) for text in texts]) if self._together else _alone(texts):
            outputs = self._outputs([[texts[index] for index in group] for group in groups])
            yield [index for group in groups for index in group], [each.reshape(-1, each.shape[-1]) for each in outputs]

    def _outputs(self, groups: Sequence[Sequence[Ids]]) -> Sequence[NDArray[np.float32]]:
        given = _places(groups) if self._together else _batch(groups[0])
        outputs: Sequence[NDArray[np.float32]] = self._session.run(None, {name: given[name] for name in self._inputs})
        return outputs


def _runs(lengths: Sequence[int]) -> Iterator[Sequence[Group]]:
    """Groups that are read together: neighbours by length, as many as fit."""
    run: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        alike = bool(run) and lengths[run[-1][0]] == lengths[index]
        if run and (tokens + lengths[index] > RUN_TOKENS or not (alike or len(run) < len(GROUPS))):
            yield run
            run, tokens, alike = [], 0, False
        if alike:
            run[-1].append(index)
        else:
            run.append([index])
        tokens += lengths[index]
    if run:
        yield run


def _alone(texts: Sequence[Ids]) -> Iterator[Sequence[Group]]:
    return ([[index]] for index in range(len(texts)))


def _places(groups: Sequence[Sequence[Ids]]) -> Mapping[str, NDArray[np.int64]]:
    """The inputs of a graph that was written anew."""
    sizes = [(len(texts), len(texts[0])) for texts in groups]
    given = {
        TOKENS: np.array([token for texts in groups for text in texts for token in text], np.int64),
        POSITIONS: np.array([place for texts, tokens in sizes for place in [*range(tokens)] * texts], np.int64),
    }
    start = 0
    for name, (texts, tokens) in zip(GROUPS, sizes, strict=False):
        given[name] = np.arange(start, start + texts * tokens, dtype=np.int64).reshape(texts, tokens)
        start += texts * tokens
    return {**dict.fromkeys(GROUPS, _NO_TEXT), **given}


def _batch(texts: Sequence[Ids]) -> Mapping[str, NDArray[np.int64]]:
    """The inputs of an export."""
    rows = np.array(texts, np.int64)
    return {"input_ids": rows, "attention_mask": np.ones_like(rows), "token_type_ids": np.zeros_like(rows)}


def _on_one_core(model: Any) -> Any:
    """Workers are processes, one a core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
