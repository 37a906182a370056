"""BERT's embeddings for texts one behind the other: an export takes texts of one length, and counts their tokens by itself."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np

from headrace.filters.pii.models.onnx_format import add_input, add_tensor

TOKENS, POSITIONS = "input_ids", "positions"
"""The inputs, one number a token: which it is, and its place in its text."""

_FIRST = "headrace.first"  # kind of text: a classifier of tokens knows one
_TABLES: Mapping[str, str] = {
    "bert.embeddings.word_embeddings.weight": TOKENS,
    "bert.embeddings.position_embeddings.weight": POSITIONS,
    "bert.embeddings.token_type_embeddings.weight": _FIRST,
}
_NORM = "bert.embeddings.LayerNorm.weight"
_FLAT = frozenset({"Add", "DequantizeLinear", "Gather", "LayerNormalization"})
"""The operators that take any number of dimensions."""


class Embeddings:
    """nodes: what they are computed with; hidden: the last one's output. known: whether they are BERT's as exports have them."""

    def __init__(self, graph: Any) -> None:
        nodes = [deepcopy(node) for node in graph.node]
        gathers = [node for node in nodes if node.op_type == "Gather" and _table(node) is not None]
        for node in gathers:
            node.input[1] = _TABLES[str(_table(node))]
        norm = next((node for node in nodes if node.op_type == "LayerNormalization" and _NORM in node.input), None)
        self.hidden = "" if norm is None else str(norm.output[0])
        self.nodes = _ancestors(nodes, self.hidden)
        flat = all(node.op_type in _FLAT for node in self.nodes)
        self.known = norm is not None and len(gathers) == len(_TABLES) and flat

    def declare(self, graph: Any) -> None:
        """Gives the graph their inputs in the place of its own."""
        del graph.input[:]
        for name in (TOKENS, POSITIONS):
            add_input(graph, name, rank=1)
        add_tensor(graph, _FIRST, np.zeros(1, np.int64))


def _table(node: Any) -> str | None:
    """The name, before what a quantizer appends to it, of the embeddings that a node looks up."""
    return next((table for table in _TABLES if node.input[0].startswith(table)), None)


def _ancestors(nodes: Sequence[Any], output: str) -> list[Any]:
    """The nodes that an output is computed with, in their order."""
    makers = {name: index for index, node in enumerate(nodes) for name in node.output}
    needed: set[int] = set()
    left = [output]
    while left:
        index = makers.get(left.pop())
        if index is not None and index not in needed:
            needed.add(index)
            left.extend(nodes[index].input)
    return [node for index, node in enumerate(nodes) if index in needed]
