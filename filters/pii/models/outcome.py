"""What a classifier gives: for each token the probability of each entity, computed by the runtime.

After a run its caches are full of weights, and each of numpy's functions takes as long as its first call does.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from headrace.filters.pii.models.onnx_format import add_tensor, set_attribute


def give_probabilities(graph: Any, grouping: NDArray[np.float32]) -> None:
    """Puts probabilities in the place of the graph's first output, which is a number for each label, and drops the others.

    grouping: (labels, entities), 1 where a label is one of an entity.
    """
    logits = graph.output[0].name
    softmax = graph.node.add(op_type="Softmax", input=[logits], output=["headrace.labels"])
    set_attribute(softmax, "axis", -1)
    of_entities = add_tensor(graph, "headrace.grouping", grouping)
    graph.node.add(op_type="MatMul", input=["headrace.labels", of_entities], output=["headrace.entities"])
    del graph.output[:]
    graph.output.add(name="headrace.entities")
