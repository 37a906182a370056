"""A model's graph rewritten to be quick: the same results up to rounding, whatever is searched beside a text."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headrace.filters.pii.models.names import default_models, model_of, onnx_file

if not default_models():
    pytest.skip("needs the extra ner", allow_module_level=True)

from headrace.filters.pii.models.classifier import BATCH_TOKENS, TokenClassifier, _run, _session
from headrace.filters.pii.models.fused import fuse
from headrace.filters.pii.models.int8 import in_int8
from headrace.filters.pii.models.onnx_format import parsed
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
    assert fuse(fused.graph, CONFIG) and len(fused.graph.node) * 5 < len(exported.graph.node)
    tokenizer, sessions = tokenizer_of(DIRECTORY), [_session(exported), _session(fused)]
    for text in SAMPLES:
        ids = tokenizer.encode(text).ids
        one, other = (_run(session, [ids])[0][0] for session in sessions)
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


def test_without_fixed_scales_every_text_is_a_run_of_its_own(classifier: TokenClassifier, monkeypatch: pytest.MonkeyPatch) -> None:
    encodings = [classifier._tokenizer.encode("Jane Doe")] * 3
    assert classifier._in_batches, "rampart's graph is one that is rewritten"
    assert [len(batch) for batch in classifier._batches(encodings)] == [3]
    monkeypatch.setattr(classifier, "_in_batches", False)
    assert [len(batch) for batch in classifier._batches(encodings)] == [1, 1, 1]


def test_a_run_is_bounded_in_tokens(classifier: TokenClassifier) -> None:
    encodings = [classifier._tokenizer.encode("Jane Doe went home")] * 100
    batches = list(classifier._batches(encodings))
    assert sorted(index for batch in batches for index in batch) == list(range(100))
    assert all(len(batch) * len(encodings[0]) <= BATCH_TOKENS for batch in batches)


def test_findings_do_not_depend_on_the_batch(classifier: TokenClassifier) -> None:
    names, places = ("Ada", "Ben Lee", "Carla"), ("Rome", "Ulm")
    texts = [f"{name} went to {place} on day {day}" for name in names for place in places for day in range(6)]
    together = classifier.find([*texts, "", "  ", *SAMPLES])
    assert [classifier.find([text])[0] for text in (*texts, "", "  ", *SAMPLES)] == list(together)
    assert sum(map(len, together)) > len(texts)
