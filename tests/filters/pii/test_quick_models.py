"""A model's graph rewritten to be quick: the same results up to rounding, whatever is searched beside a text."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.filters.pii.models.names import default_models, model_of, onnx_file

if not default_models():
    pytest.skip("needs the extra ner", allow_module_level=True)

from headrace.filters.pii.models.classifier import TokenClassifier
from headrace.filters.pii.models.fused import GROUPS, fuse
from headrace.filters.pii.models.int8 import in_int8
from headrace.filters.pii.models.onnx_format import parsed
from headrace.filters.pii.models.outcome import give_probabilities
from headrace.filters.pii.models.runs import RUN_TOKENS, Session
from headrace.filters.pii.models.scales import SAMPLES
from headrace.filters.pii.models.tokens import tokenizer_of

DIRECTORY = Path(model_of("rampart").source)
CONFIG = json.loads((DIRECTORY / "config.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def classifier() -> TokenClassifier:
    return TokenClassifier(DIRECTORY, onnx_file(DIRECTORY))


def graph() -> Any:
    model = parsed(onnx_file(DIRECTORY).read_bytes())
    in_int8(model.graph)
    return model


def test_fused_layers_compute_what_the_exported_ones_do() -> None:
    exported, fused = graph(), graph()
    assert fuse(fused.graph, CONFIG) and len(fused.graph.node) * 2 < len(exported.graph.node)
    tokenizer, sessions = tokenizer_of(DIRECTORY), [Session(exported, together=False), Session(fused, together=True)]
    for text in SAMPLES:
        ids = tokenizer.encode(text).ids
        one, other = (outputs[0] for session in sessions for _, outputs in session.run([ids]))
        assert np.mean(one.argmax(axis=1) == other.argmax(axis=1)) > 0.9
        assert float(np.abs(one - other).mean()) < 0.1


@pytest.mark.parametrize(
    "changed",
    [
        {"architectures": ["RobertaForTokenClassification"]},
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
        {"num_hidden_layers": 7},
    ],
)
def test_a_graph_of_another_kind_stays_as_it_is(changed: dict[str, Any]) -> None:
    model = graph()
    before = model.SerializeToString()
    assert not fuse(model.graph, CONFIG | changed)
    assert model.SerializeToString() == before


def test_a_label_counts_for_its_entity(classifier: TokenClassifier) -> None:
    model, grouping = graph(), np.zeros((len(CONFIG["id2label"]), 2), np.float32)
    grouping[0, 0], grouping[1:, 1] = 1, 1
    logits = Session(model, together=False)
    give_probabilities(model.graph, grouping)
    ids = [classifier._tokenizer.encode(SAMPLES[0]).ids]
    ((_, (given,)),), ((_, (numbers, *_)),) = Session(model, together=False).run(ids), logits.run(ids)
    shares = np.exp(numbers) / np.exp(numbers).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(given, np.stack([shares[:, 0], shares[:, 1:].sum(axis=1)], axis=1), atol=1e-5)
    assert given[:, 1].max() > 0.9 > 0.1 > given[:, 1].min()


def test_embeddings_that_are_computed_otherwise_stay_as_they_are() -> None:
    model = graph()
    norm = next(node for node in model.graph.node if node.op_type == "LayerNormalization")
    norm.op_type = "LpNormalization"
    before = model.SerializeToString()
    assert not fuse(model.graph, CONFIG)
    assert model.SerializeToString() == before


def runs_of(session: Session, lengths: Sequence[int]) -> list[list[int]]:
    """The lengths of the texts in each run, whose outputs are one row a token."""
    runs = []
    for texts, outputs in session.run([[7] * length for length in lengths]):
        runs.append([lengths[index] for index in texts])
        assert len(outputs[0]) == sum(runs[-1])
    return runs


def test_what_was_not_written_anew_reads_every_text_by_itself() -> None:
    assert runs_of(Session(graph(), together=False), [3, 3, 5]) == [[3], [3], [5]]


@pytest.mark.parametrize(
    ("lengths", "runs"),
    [
        ([], []),
        ([1], [[1]]),
        ([9, 3, 9, 3], [[3, 3, 9, 9]]),
        ([4, 8, 12, 16, 20, 16], [[4, 8, 12, 16, 16], [20]]),
        ([100] * 5, [[100] * 2, [100] * 2, [100]]),
        ([2, 300, 30], [[2, 30], [300]]),
    ],
)
def test_a_run_has_neighbours_by_length_and_is_bounded(
    classifier: TokenClassifier, lengths: list[int], runs: list[list[int]]
) -> None:
    assert (RUN_TOKENS, len(GROUPS)) == (256, 4)
    assert runs_of(classifier._session, lengths) == runs


def test_a_result_is_the_same_bit_for_bit_whatever_is_in_the_run(classifier: TokenClassifier) -> None:
    texts = [classifier._tokenizer.encode(text).ids for text in SAMPLES]
    alone = [next(classifier._session.run([ids]))[1][0] for ids in texts]
    for order, outputs in classifier._session.run(texts):
        assert outputs[0].tobytes() == b"".join(alone[index].tobytes() for index in order)


def test_findings_do_not_depend_on_the_batch(classifier: TokenClassifier) -> None:
    names, places = ("Ada", "Ben Lee", "Carla"), ("Rome", "Ulm")
    texts = [f"{name} went to {place} on day {day}" for name in names for place in places for day in range(6)]
    together = classifier.find([*texts, "", "  ", *SAMPLES])
    assert [classifier.find([text])[0] for text in (*texts, "", "  ", *SAMPLES)] == list(together)
    assert sum(map(len, together)) > len(texts)
