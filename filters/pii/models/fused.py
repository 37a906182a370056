"""BERT's encoder in few operators: what an export spells out in 40 nodes a layer is eight, with the same products.

Exports compute shapes, transpose and scale in nodes of their own, and know a mask for the padding that a text by itself does not
have. For 20 words that is a sixth of a run. Operators are those of onnxruntime's "contrib" set, on the same weights: results differ
by rounding only. A graph that is not Hugging Face's export of `BertForTokenClassification` with int8 products stays as it is.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from headrace.filters.pii.models.int8 import PRODUCT
from headrace.filters.pii.models.onnx_format import OF_MICROSOFT, drop_unused, replace_all, set_attribute

_ARCHITECTURE = "BertForTokenClassification"
_EMBEDDED = "bert.embeddings.LayerNorm.weight"
_HEAD = "classifier.bias"
_QUERY, _KEY, _VALUE = (f"attention.self.{name}.bias" for name in ("query", "key", "value"))
_ATTENDED, _WIDE, _NARROW = "attention.output.dense.bias", "intermediate.dense.bias", "output.dense.bias"
_AFTER_ATTENTION, _AFTER_LAYER = "attention.output.LayerNorm", "output.LayerNorm"


def fuse(graph: Any, config: Mapping[str, Any]) -> bool:
    """Whether the encoder of the graph could be written anew. config: the model's config.json."""
    if not _is_bert(config):
        return False
    products, embedded = _biased_products(graph), _output_of_the_norm(graph)
    layers = [f"bert.encoder.layer.{index}." for index in range(int(config["num_hidden_layers"]))]
    biases = [layer + name for layer in layers for name in (_QUERY, _KEY, _VALUE, _ATTENDED, _WIDE, _NARROW)]
    if embedded is None or not products.keys() >= {_HEAD, *biases}:
        return False
    kept = _ancestors(graph, embedded)
    encoder = _Encoder(graph, products, int(config["num_attention_heads"]), float(config["layer_norm_eps"]))
    hidden = embedded
    for layer in layers:
        hidden = encoder.layer(layer, hidden)
    encoder.product(hidden, _HEAD).output[0] = graph.output[0].name
    replace_all(graph.node, [*kept, *encoder.nodes])
    drop_unused(graph)
    return True


def _is_bert(config: Mapping[str, Any]) -> bool:
    usual = config.get("hidden_act") == "gelu" and config.get("position_embedding_type", "absolute") == "absolute"
    return usual and _ARCHITECTURE in (config.get("architectures") or ())


class _Encoder:
    """Writes nodes that take the constants of a graph, which are named as Hugging Face names them."""

    def __init__(self, graph: Any, products: Mapping[str, Any], heads: int, epsilon: float) -> None:
        self._make = type(graph)().node.add
        self._products = products
        self._heads = heads
        self._epsilon = epsilon
        self.nodes: list[Any] = []

    def layer(self, name: str, hidden: str) -> str:
        """The output of a layer. hidden: that of the one before."""
        asked = [self.product(hidden, name + bias).output[0] for bias in (_QUERY, _KEY, _VALUE)]
        attended = self._node("MultiHeadAttention", asked, num_heads=self._heads).output[0]
        hidden = self._normed(self.product(attended, name + _ATTENDED).output[0], hidden, name + _AFTER_ATTENTION)
        wide = self._node("Gelu", [self.product(hidden, name + _WIDE).output[0]]).output[0]
        return self._normed(self.product(wide, name + _NARROW).output[0], hidden, name + _AFTER_LAYER)

    def product(self, of: str, bias: str) -> Any:
        weights, scales = self._products[bias].input[1:3]
        return self._node(PRODUCT, [of, weights, scales, "", bias])

    def _normed(self, new: str, skipped: str, name: str) -> str:
        inputs = [new, skipped, f"{name}.weight", f"{name}.bias"]
        return str(self._node("SkipLayerNormalization", inputs, epsilon=self._epsilon).output[0])

    def _node(self, operator: str, inputs: Sequence[str], **attributes: float) -> Any:
        node = self._make(op_type=operator, domain=OF_MICROSOFT, input=inputs, output=[f"headrace.{len(self.nodes)}"])
        for name, value in attributes.items():
            set_attribute(node, name, value)
        self.nodes.append(node)
        return node


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


def _output_of_the_norm(graph: Any) -> str | None:
    """What comes out of the embeddings."""
    return next((node.output[0] for node in graph.node if node.op_type == "LayerNormalization" and _EMBEDDED in node.input), None)


def _ancestors(graph: Any, output: str) -> list[Any]:
    """The nodes that an output is computed with, in the graph's order."""
    makers = {name: index for index, node in enumerate(graph.node) for name in node.output}
    needed: set[int] = set()
    left = [output]
    while left:
        index = makers.get(left.pop())
        if index is not None and index not in needed:
            needed.add(index)
            left.extend(graph.node[index].input)
    return [node for index, node in enumerate(graph.node) if index in needed]
