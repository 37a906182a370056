"""The few fields of ONNX's format (onnx.proto) that are read and rewritten here; protobuf carries the others along unread.

The `onnx` package would bring 18 MB for them.
"""

from functools import cache
from typing import Any

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from numpy.typing import NDArray

FLOAT, UINT8, INT8, INT64 = 1, 2, 3, 7
"""Types of a tensor's elements."""
OF_MICROSOFT = "com.microsoft"
"""The domain of operators that the runtime adds to ONNX's own."""

_FLOAT_ATTRIBUTE, _INT_ATTRIBUTE = 1, 2
_TYPES: dict[int, type] = {FLOAT: np.float32, UINT8: np.uint8, INT8: np.int8, INT64: np.int64}
_CODES = {np.dtype(of): code for code, of in _TYPES.items()}

_Field = descriptor_pb2.FieldDescriptorProto
_STRING, _INT, _BYTES, _MESSAGE = _Field.TYPE_STRING, _Field.TYPE_INT64, _Field.TYPE_BYTES, _Field.TYPE_MESSAGE
_REAL = _Field.TYPE_FLOAT

# message → (field, number, type, repeated, message type), from onnx.proto
_ONNX: dict[str, tuple[tuple[str, int, int, bool, str], ...]] = {
    "Attribute": (
        ("name", 1, _STRING, False, ""),
        ("f", 2, _REAL, False, ""),
        ("i", 3, _INT, False, ""),
        ("type", 20, _INT, False, ""),
    ),
    "Tensor": (
        ("dims", 1, _INT, True, ""),
        ("data_type", 2, _INT, False, ""),
        ("name", 8, _STRING, False, ""),
        ("raw_data", 9, _BYTES, False, ""),
    ),
    "Node": (
        ("input", 1, _STRING, True, ""),
        ("output", 2, _STRING, True, ""),
        ("op_type", 4, _STRING, False, ""),
        ("attribute", 5, _MESSAGE, True, "Attribute"),
        ("domain", 7, _STRING, False, ""),
    ),
    "Dimension": (),
    "Shape": (("dimensions", 1, _MESSAGE, True, "Dimension"),),
    "TensorType": (
        ("element", 1, _INT, False, ""),
        ("shape", 2, _MESSAGE, False, "Shape"),
    ),
    "Type": (("tensor", 1, _MESSAGE, False, "TensorType"),),
    "Value": (
        ("name", 1, _STRING, False, ""),
        ("type", 2, _MESSAGE, False, "Type"),
    ),
    "Graph": (
        ("node", 1, _MESSAGE, True, "Node"),
        ("initializer", 5, _MESSAGE, True, "Tensor"),
        ("input", 11, _MESSAGE, True, "Value"),
        ("output", 12, _MESSAGE, True, "Value"),
        ("between", 13, _MESSAGE, True, "Value"),
    ),
    "Model": (("graph", 7, _MESSAGE, False, "Graph"),),
}


@cache
def _model_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="headrace/onnx.proto", package="headrace.onnx", syntax="proto2")
    for name, fields in _ONNX.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated, of in fields:
            label = _Field.LABEL_REPEATED if repeated else _Field.LABEL_OPTIONAL
            message.field.add(name=field, number=number, type=kind, label=label, type_name=f".headrace.onnx.{of}" if of else None)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("headrace.onnx.Model"))


def parsed(data: bytes) -> Any:
    """The model's message. Raises google.protobuf.message.DecodeError for what is no ONNX model."""
    return _model_class().FromString(data)


def integers_of(node: Any) -> dict[str, int]:
    """The attributes of a node that are whole numbers; others are 0."""
    return {each.name: each.i for each in node.attribute}


def add_tensor(graph: Any, name: str, values: NDArray[Any]) -> str:
    """Adds a constant to a graph; gives its name."""
    graph.initializer.add(name=name, data_type=_CODES[values.dtype], dims=values.shape, raw_data=values.tobytes())
    return name


def add_input(graph: Any, name: str, rank: int) -> str:
    """Adds an input of whole numbers, of any size in each of its dimensions; gives its name."""
    kind = graph.input.add(name=name).type.tensor
    kind.element = INT64
    for _ in range(rank):
        kind.shape.dimensions.add()
    return name


def set_attribute(node: Any, name: str, value: float) -> None:
    """A whole number of type int, or a float."""
    if isinstance(value, int):
        node.attribute.add(name=name, i=value, type=_INT_ATTRIBUTE)
    else:
        node.attribute.add(name=name, f=value, type=_FLOAT_ATTRIBUTE)


def drop_unused(graph: Any) -> None:
    """Drops the inputs and constants that no node takes."""
    used = {name for node in graph.node for name in node.input}
    for listed in (graph.initializer, graph.input):
        kept = [each for each in listed if each.name in used]
        replace_all(listed, kept)


def replace_all(listed: Any, kept: list[Any]) -> None:
    """Puts messages in the place of those of a repeated field, of which they may be some."""
    copies = [each.SerializeToString() for each in kept]
    make = type(kept[0]).FromString if kept else None
    del listed[:]
    if make is not None:
        listed.extend(make(each) for each in copies)
