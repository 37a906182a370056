"""What a policy may say of the filter, and what it is told where that cannot work."""

import subprocess
import sys
from pathlib import Path

import pytest

from headrace.ext_proc.engine.policy.problems import PolicyErrors

from .driver import Talk, policy, user


def _problems(directory: Path, settings: str) -> list[str]:
    with pytest.raises(PolicyErrors) as caught:
        policy(directory, settings)
    return [str(problem) for problem in caught.value.problems]


def test_an_entity_that_only_a_model_finds_is_a_problem_that_says_so(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "entities: [EMAIL_ADDRESS, PERSON]")
    assert "entities[1]" in problem
    assert "PERSON is found by a language model only" in problem


def test_an_unknown_entity_is_a_problem_with_a_suggestion(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "entities: [EMAIL_ADRESS]")
    assert "did you mean 'EMAIL_ADDRESS'?" in problem
    (problem,) = _problems(tmp_path, "thresholds: {UK_NINO: 0.1}")
    assert "UK_NINO" in problem and "thresholds" in problem


def test_an_entity_that_its_threshold_hides_is_a_problem_with_the_threshold_that_does_not(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "entities: [US_BANK_NUMBER]")
    assert "US_BANK_NUMBER never scores above 0.05" in problem and "thresholds: {US_BANK_NUMBER: 0.05}" in problem
    talk = Talk(policy(tmp_path, "entities: [US_BANK_NUMBER], thresholds: {US_BANK_NUMBER: 0.05}"))
    assert talk.sent(user("account 12345678"))["messages"][0]["content"].startswith("account <US_BANK_NUMBER_")


@pytest.mark.parametrize("settings", ["request: shred", "thresholds: {URL: 1.5}", "entities: []", "restore: maybe", "colour: red"])
def test_a_setting_of_the_wrong_kind_is_a_problem(tmp_path: Path, settings: str) -> None:
    assert _problems(tmp_path, settings)


def test_only_the_entities_named_are_looked_for(tmp_path: Path) -> None:
    sent = Talk(policy(tmp_path, "entities: [IP_ADDRESS]")).sent(user("a@b.com 10.0.0.1"))["messages"][0]["content"]
    assert sent.startswith("a@b.com <IP_ADDRESS_")


def test_with_a_key_file_placeholders_are_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "pii.key").write_text("k" * 40)
    (tmp_path / "other.key").write_text("o" * 40)
    first, again, other = (
        Talk(policy(tmp_path, f"key_file: {name}")).sent(user("a@b.com"))["messages"][0]["content"]
        for name in ("pii.key", "pii.key", "other.key")
    )
    assert first == again != other


def test_a_key_that_is_short_or_missing_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pii.key").write_text("short\n")
    assert "5 bytes" in _problems(tmp_path, "key_file: pii.key")[0]
    assert "cannot read" in _problems(tmp_path, "key_file: none.key")[0]
    monkeypatch.setenv("HEADRACE_PII_KEY", "short")
    assert "HEADRACE_PII_KEY" in _problems(tmp_path, "")[0]


def test_both_directions_off_cost_nothing(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "request: off, response: off"))
    assert talk.sent(user("a@b.com")) == user("a@b.com")


def test_importing_the_filter_does_not_import_presidio() -> None:
    script = "import sys, headrace.filters.pii; assert not {'presidio_analyzer', 'spacy', 'hyperscan'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
