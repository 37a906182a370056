"""Fixed scales for activations: an int8 product rounds them alike in every run, whatever else is in its batch.

A `DynamicQuantizeMatMul` rounds by the largest activation of a run, so that a text's findings would depend on its neighbours. The
ranges of BERT's activations hardly differ from text to text; they are observed on `SAMPLES`, and the products then take constants.
What lies beyond a range is its end.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.filters.pii.models.int8 import PRODUCT
from headrace.filters.pii.models.onnx_format import OF_MICROSOFT, add_tensor, drop_unused, replace_all

Range = tuple[float, float]
Run = Callable[[str], Sequence[NDArray[Any]]]
"""A text → the outputs of a model whose last ones are those that `expose` added."""

_LEVELS = 255
_WITH_FIXED_SCALES = "MatMulIntegerToFloat"

# Of the kinds of text that models read: people and places, in some languages and spellings, and text without any.
SAMPLES = (
    "Dear Ms. Thornbury, your parcel for 18 Cedar Lane, Albany NY 12207 was handed to Mr. Peter Falk on Monday.",
    "my name is hannah kowalski and i live at 4 mill road in bristol, call me on 0117 496 0233 after six",
    "Nous avons rencontré Camille Lefèvre à Toulouse; elle habite 12 rue du Moulin, 31000 Toulouse.",
    "Frau Sabine Krüger aus Hannover bittet um Rückruf unter 0511 123456, Kundennummer 88213-7.",
    "El paciente Joaquín Herrera Ruiz, de Sevilla, llegó el martes con su hermana Lucía.",
    "La signora Bianchi abita in Via Garibaldi 7, Torino, e lavora a Milano da tre anni.",
    "O João Pereira mudou-se de Braga para Lisboa, Avenida da Liberdade 110.",
    "De heer Van der Meer uit Utrecht heeft zijn rijbewijs verlengd op 3 mei.",
    "Please summarise the discussion in three short points, keep the tone friendly, and leave the budget out of it.",
    "The water level rises slowly until the second valve opens; after that the pressure falls within seconds.",
    "def area(width, height):\n    return width * height  # square metres\n",
    '{"customer": {"first": "Noor", "last": "Haddad", "city": "Amman", "zip": "11118"}, "items": [3, 4]}',
    "Passport 533380006, driver's license D1234567, account 000123456789, routing number 021000021.",
    "JOHN SMITH\n42 KING STREET\nLONDON SW1A 1AA\n",
    "card 4111 1111 1111 1111 exp 09/27, SSN 536-90-4399, mail jane.roe@example.org, https://example.org/a?b=c",
    "Thanks,\nOluwaseun",
    "who was the first woman in space, and where did she land?",
    "Ticket #4711: login fails since v2.3.1; see logs/app.log, line 88, error code 0x80070005.",
    "???",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z 1 2 3 4 5 6 7 8 9 0",
)


def expose(graph: Any) -> Sequence[str]:
    """Makes what the products take outputs of the graph; gives their names, in the order of the outputs."""
    names = list(dict.fromkeys(node.input[0] for node in graph.node if node.op_type == PRODUCT))
    for name in names:
        graph.output.add(name=name)
    return names


def observed(names: Sequence[str], run: Run) -> Mapping[str, Range]:
    """The range of each activation over all samples."""
    runs = [run(text)[-len(names) :] for text in SAMPLES]
    return {
        name: (min(float(each[index].min()) for each in runs), max(float(each[index].max()) for each in runs))
        for index, name in enumerate(names)
    }


def fix(graph: Any, ranges: Mapping[str, Range]) -> None:
    """Gives every int8 product with a bias these ranges of what it takes."""
    rounded = _Rounded(graph, ranges)
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type == PRODUCT:
            quantized, scale, zero, new = rounded.of(node.input[0])
            nodes.extend(new)
            inputs = [quantized, node.input[1], scale, node.input[2], zero, "", node.input[4]]
            node = rounded.make(op_type=_WITH_FIXED_SCALES, domain=OF_MICROSOFT, input=inputs, output=list(node.output))
        nodes.append(node)
    replace_all(graph.node, nodes)
    drop_unused(graph)


class _Rounded:
    """Activations as unsigned bytes; each is rounded once, however many products take it."""

    def __init__(self, graph: Any, ranges: Mapping[str, Range]) -> None:
        self.make = type(graph)().node.add
        self._graph = graph
        self._ranges = ranges
        self._made: dict[str, tuple[str, str, str]] = {}

    def of(self, name: str) -> tuple[str, str, str, Sequence[Any]]:
        """The rounded activation, its scale and its zero, and the node that makes it where there is none yet."""
        if name in self._made:
            return *self._made[name], ()
        low, high = min(self._ranges[name][0], 0.0), max(self._ranges[name][1], 0.0)
        step = max(high - low, 1e-12) / _LEVELS
        scale = add_tensor(self._graph, f"{name}.scale", np.array(step, np.float32))
        zero = add_tensor(self._graph, f"{name}.zero", np.array(round(-low / step), np.uint8))
        self._made[name] = f"{name}.rounded", scale, zero
        return *self._made[name], [self.make(op_type="QuantizeLinear", input=[name, scale, zero], output=[f"{name}.rounded"])]
