"""BERT's encoder in few operators, and for several texts in a run, with the same products.

Exports compute shapes, transpose and scale in nodes of their own, and know a mask for the padding that a text by itself does not
have: for 20 words that is a sixth of a run. Operators are those of onnxruntime's "contrib" set, on the same weights: results differ
by rounding only. A graph that is not Hugging Face's export of `BertForTokenClassification` with int8 products stays as it is.

Texts of several lengths are read in one run, one behind the other: products take all tokens at once, so that weights are read once
for all, and attention takes the texts of each length by themselves, with the operator that reads a text alone. A result is the
same bit for bit whatever else is in its run, which a mask would not give: sums would be rounded in another order.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headrace.filters.pii.models.embeddings import TOKENS, Embeddings
from headrace.filters.pii.models.int8 import PRODUCT
from headrace.filters.pii.models.onnx_format import OF_MICROSOFT, add_input, add_tensor, drop_unused, replace_all, set_attribute

GROUPS = tuple(f"group.{number}" for number in range(4))
"""The inputs beside those of the embeddings: the places of some texts' tokens in the run, a row for each text.

The texts of a group have as many tokens, at least one. A run has all groups, and first those whose texts are in it; what others say
of its tokens is dropped. One more group would make a run 30 µs longer.
"""

_ARCHITECTURE = "BertForTokenClassification"
_HEAD = "classifier.bias"
_QUERY, _KEY, _VALUE = (f"attention.self.{name}.bias" for name in ("query", "key", "value"))
_ATTENDED, _WIDE, _NARROW = "attention.output.dense.bias", "intermediate.dense.bias", "output.dense.bias"
_AFTER_ATTENTION, _AFTER_LAYER = "attention.output.LayerNorm", "output.LayerNorm"


def fuse(graph: Any, config: Mapping[str, Any]) -> bool:
    """Whether the graph could be written anew, for runs of several texts. config: the model's config.json."""
    if not _is_bert(config):
        return False
    products, embeddings = _biased_products(graph), Embeddings(graph)
    layers = [f"bert.encoder.layer.{index}." for index in range(int(config["num_hidden_layers"]))]
    biases = [layer + name for layer in layers for name in (_QUERY, _KEY, _VALUE, _ATTENDED, _WIDE, _NARROW)]
    if not (embeddings.known and products.keys() >= {_HEAD, *biases}):
        return False
    encoder = _Encoder(graph, products, config)
    hidden = embeddings.hidden
    for layer in layers:
        hidden = encoder.layer(layer, hidden)
    encoder.product(hidden, _HEAD).output[0] = graph.output[0].name
    _declare(graph, embeddings)
    replace_all(graph.node, [*embeddings.nodes, *encoder.nodes])
    drop_unused(graph)
    return True


def _declare(graph: Any, embeddings: Embeddings) -> None:
    """Inputs and output, which has a dimension less than the export's."""
    embeddings.declare(graph)
    for group in GROUPS:
        add_input(graph, group, rank=2)
    logits = graph.output[0].name
    del graph.output[:], graph.between[:]
    graph.output.add(name=logits)


def _is_bert(config: Mapping[str, Any]) -> bool:
    usual = config.get("hidden_act") == "gelu" and config.get("position_embedding_type", "absolute") == "absolute"
    return usual and _ARCHITECTURE in (config.get("architectures") or ())


class _Encoder:
    """Writes nodes that take the constants of a graph, which are named as Hugging Face names them."""

    def __init__(self, graph: Any, products: Mapping[str, Any], config: Mapping[str, Any]) -> None:
        self._make = type(graph)().node.add
        self._products = products
        self._heads = int(config["num_attention_heads"])
        self._epsilon = float(config["layer_norm_eps"])
        self._rows = add_tensor(graph, "headrace.rows", np.array([-1, config["hidden_size"]], np.int64))
        self._start = add_tensor(graph, "headrace.start", np.zeros(1, np.int64))
        self.nodes: list[Any] = []
        self._end = self._node("Shape", [TOKENS])

    def layer(self, name: str, hidden: str) -> str:
        """The output of a layer. hidden: that of the one before."""
        asked = [self.product(hidden, name + bias).output[0] for bias in (_QUERY, _KEY, _VALUE)]
        hidden = self._normed(self.product(self._attended(asked), name + _ATTENDED).output[0], hidden, name + _AFTER_ATTENTION)
        wide = self._node("Gelu", [self.product(hidden, name + _WIDE).output[0]], OF_MICROSOFT)
        return self._normed(self.product(wide, name + _NARROW).output[0], hidden, name + _AFTER_LAYER)

    def _attended(self, asked: Sequence[str]) -> str:
        """Attention within each text. asked: queries, keys and values of all."""
        groups = [self._within(asked, group) for group in GROUPS]
        return self._node("Slice", [self._node("Concat", groups, axis=0), self._start, self._end])

    def _within(self, asked: Sequence[str], group: str) -> str:
        texts = [self._node("Gather", [each, group]) for each in asked]
        attended = self._node("MultiHeadAttention", texts, OF_MICROSOFT, num_heads=self._heads)
        return self._node("Reshape", [attended, self._rows])

    def product(self, of: str, bias: str) -> Any:
        weights, scales = self._products[bias].input[1:3]
        self._node(PRODUCT, [of, weights, scales, "", bias], OF_MICROSOFT)
        return self.nodes[-1]

    def _normed(self, new: str, skipped: str, name: str) -> str:
        inputs = [new, skipped, f"{name}.weight", f"{name}.bias"]
        return self._node("SkipLayerNormalization", inputs, OF_MICROSOFT, epsilon=self._epsilon)

    def _node(self, operator: str, inputs: Sequence[str], domain: str = "", **attributes: float) -> str:
        """A new node's output. domain: of the operator; by default ONNX's own."""
        node = self._make(op_type=operator, domain=domain, input=inputs, output=[f"headrace.{len(self.nodes)}"])
        for name, value in attributes.items():
            set_attribute(node, name, value)
        self.nodes.append(node)
        return str(node.output[0])


def _biased_products(graph: Any) -> Mapping[str, Any]:
    """The bias's name → the int8 product that it is added to."""
    constants = {each.name for each in graph.initializer}
    products = {node.output[0]: node for node in graph.node if node.op_type == PRODUCT and len(node.input) == 3}
    found: dict[str, Any] = {}
    for node in graph.node:
        if node.op_type == "Add":
            for bias, product in (tuple(node.input), tuple(node.input)[::-1]):
                if bias in constants and product in products:
                    found[bias] = products[product]
    return found
