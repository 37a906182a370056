"""A model with 4-bit weights, made to multiply 8-bit integers: two and a half times as fast, in memory, in a third of a second.

`MatMulNBits` keeps weights small and multiplies floats. Its weights are unpacked and rounded once per column to 7 bits (the eighth
makes the products of processors without VNNI overflow), and the node becomes a `DynamicQuantizeMatMul`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.filters.pii.models.onnx_format import OF_MICROSOFT, add_tensor, drop_unused, integers_of

_LARGEST = 64
PRODUCT = "DynamicQuantizeMatMul"
"""The operator: takes activations, weights, their scales, and perhaps a zero point and a bias."""


def in_int8(graph: Any) -> None:
    """Makes the 4-bit products of a graph 8-bit ones; one without such products stays as it is."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    packed = [node for node in graph.node if node.op_type == "MatMulNBits" and _is_symmetric(node)]
    for node in packed:
        _convert(graph, node, tensors)
    if packed:
        drop_unused(graph)


def _is_symmetric(node: Any) -> bool:
    """Four bits around a zero of 8, and no further inputs."""
    return len(node.input) == 3 and integers_of(node).get("bits", 4) == 4


def _convert(graph: Any, node: Any, tensors: dict[str, Any]) -> None:
    activations, weights_name, scales_name = node.input
    sizes = integers_of(node)
    weights = _unpacked(tensors[weights_name], tensors[scales_name], sizes["K"], sizes["N"], sizes["block_size"])
    column = np.maximum(np.abs(weights).max(axis=1), np.float32(1e-12)) / _LARGEST
    rounded = np.ascontiguousarray(np.rint(weights / column[:, None]).astype(np.int8).T)
    names = [add_tensor(graph, f"{weights_name}.int8", rounded)]
    names.append(add_tensor(graph, f"{scales_name}.column", column.astype(np.float32)))
    node.op_type, node.domain = PRODUCT, OF_MICROSOFT
    del node.attribute[:]
    del node.input[:]
    node.input.extend([activations, *names])


def _unpacked(weights: Any, scales: Any, k: int, n: int, block: int) -> NDArray[np.float32]:
    """The matrix (n, k): two weights a byte, the low one first; a scale for each block of a row, the last one filled up."""
    blocks = -(-k // block)
    pairs = np.frombuffer(weights.raw_data, np.uint8).reshape(n, blocks, block // 2)
    values = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(n, blocks, block).astype(np.float32) - 8
    scaled = values * np.frombuffer(scales.raw_data, np.float32).reshape(n, blocks, 1)
    return np.ascontiguousarray(scaled.reshape(n, blocks * block)[:, :k])
