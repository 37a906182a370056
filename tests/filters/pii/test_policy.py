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
    (problem,) = _problems(tmp_path, "thresholds: {UK_NINNO: 0.1}")
    assert "did you mean 'UK_NINO'?" in problem and "thresholds" in problem


def test_a_threshold_for_an_entity_that_is_not_looked_for_is_a_problem(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "thresholds: {UK_NINO: 0.1}")
    assert "UK_NINO is not looked for" in problem
    policy(tmp_path, "thresholds: {UK_NINO: 0.1}, entities: [UK_NINO]")
    policy(tmp_path, "thresholds: {US_ITIN: 0.1}")


@pytest.mark.parametrize("direction", ["request", "response"])
def test_an_action_for_an_entity_that_nothing_finds_is_a_problem(tmp_path: Path, direction: str) -> None:
    (problem,) = _problems(tmp_path, f"{direction}: {{default: report, EMAIL: block}}")
    assert f"{direction}.EMAIL: 'EMAIL' is nothing that a recognizer here finds; did you mean 'EMAIL_ADDRESS'?" in problem
    (problem,) = _problems(tmp_path, f"{direction}: {{PERSON: block}}")
    assert "PERSON is found by a language model only" in problem
    policy(tmp_path, f"{direction}: {{PERSON: off}}")


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ("entities: [EMAIL_ADDRESS], request: {CREDIT_CARD: block}", "request.CREDIT_CARD"),
        ("request: {UK_NINO: block}", "request.UK_NINO"),
        ("entities: [EMAIL_ADDRESS], recognizers: [{entity: CREW, deny_list: [ada]}]", "recognizers[0].entity"),
    ],
)
def test_what_is_said_of_an_entity_that_is_not_looked_for_is_remarked(tmp_path: Path, settings: str, place: str) -> None:
    (remark,) = policy(tmp_path, settings).remarks
    assert remark.where.endswith(f"pii.{place}")
    assert remark.message.endswith("is not looked for, so this does nothing; name it in entities, or take this away")


def test_a_glob_in_a_list_of_values_is_remarked(tmp_path: Path) -> None:
    recognizer = "{entity: CREW, deny_list: ['Project *'], allow_list: [Project 1]}"
    found = policy(tmp_path, f"allow_list: ['*@example.com', a@example.com], recognizers: [{recognizer}]").remarks
    assert [one.where.rpartition("pii.")[2] for one in found] == ["allow_list[0]", "recognizers[0].deny_list[0]"]
    assert all("is read as it stands, not as a glob" in one.message for one in found)


def test_a_pattern_whose_word_boundary_yaml_took_is_remarked(tmp_path: Path) -> None:
    (remark,) = policy(tmp_path, 'recognizers: [{entity: CREW, patterns: [{regex: "\\bC[0-9]{5}", score: 0.9}]}]').remarks
    assert remark.where.endswith("recognizers[0].patterns[0].regex") and "in double quotes \\b is" in remark.message
    single = policy(tmp_path, "recognizers: [{entity: CREW, patterns: [{regex: '\\bC[0-9]{5}', score: 0.9}]}]")
    assert single.remarks == [] and Talk(single).sent(user("C12345"))["messages"][0]["content"] != "C12345"


def test_a_recognizer_of_ones_own_that_no_finding_of_counts_is_a_problem(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "recognizers: [{entity: CREW, patterns: [{regex: 'c[0-9]+', score: 0.1}]}]")
    assert "recognizers[0].entity: CREW never scores above 0.1" in problem


def test_an_entity_that_its_threshold_hides_is_a_problem_with_the_threshold_that_does_not(tmp_path: Path) -> None:
    (problem,) = _problems(tmp_path, "entities: [US_BANK_NUMBER], layers: []")
    assert "US_BANK_NUMBER never scores above 0.05" in problem and "thresholds: {US_BANK_NUMBER: 0.05}" in problem
    talk = Talk(policy(tmp_path, "entities: [US_BANK_NUMBER], layers: [], thresholds: {US_BANK_NUMBER: 0.05}"))
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


# --- recognizers -------------------------------------------------------------------------------------------------------------


def _content(talk: Talk, text: str) -> str:
    return str(talk.sent(user(text))["messages"][0]["content"])


def test_recognizers_of_presidio_that_are_off_by_default_run_for_their_entity_or_their_country(tmp_path: Path) -> None:
    text = "My national insurance number nino is AA 12 34 56 B."
    assert _content(Talk(policy(tmp_path, "request: redact")), text) == text
    for settings in ("entities: [UK_NINO]", "countries: [uk], entities: [UK_NINO, UK_PASSPORT]"):
        assert "<UK_NINO>" in _content(Talk(policy(tmp_path, f"request: redact, {settings}")), text)


@pytest.mark.parametrize(
    ("settings", "place", "said"),
    [
        ("languages: [en, dee]", "languages[1]", "did you mean 'de'?"),
        ("countries: [gb]", "countries[0]", "Presidio has no recognizers for 'gb'"),
        ("recognizers: [{entity: A_B}]", "recognizers[0]", "give it patterns, deny_list or python"),
        ("recognizers: [{entity: A_B, python: nobody}]", "recognizers[0].python", "no installed package has a recognizer 'nobody'"),
        (
            "recognizers: [{entity: A_B, patterns: [{regex: '(a+)+(?=b)'}]}]",
            "patterns[0].regex",
            "back-references are not linear",
        ),
        ("recognizers: [{entity: A_B, patterns: [{regex: '(a'}]}]", "patterns[0].regex", "does not take it: missing ): (a"),
        ("recognizers: [{entity: A_B, patterns: [{regex: '*-ACME'}]}]", "patterns[0].regex", "what a glob writes as * and ?"),
        ("recognizers: [{entity: A_B, patterns: [{regex: 'a*'}]}]", "patterns[0].regex", "it matches an empty text"),
        (
            "recognizers: [{entity: A_B, patterns: [{regex: '(a)\\1'}]}]",
            "patterns[0].regex",
            "back-references are not linear",
        ),
        ("recognizers: [{entity: a b, deny_list: [x]}]", "recognizers[0].entity", "is not a name in capitals"),
        ("recognizers: [{entity: A_B, deny_list: [x], validator: crc}]", "recognizers[0].validator", "luhn"),
        ("model: [rampart, nope]", "model[1]", "'nope' is none of none, rampart, spacy:<package or path>, onnx:<path>"),
        ("model: 'onnx:here'", "model", "has no config.json"),
        ("model: 'spacy:nope'", "model", "there is no spaCy model 'nope'"),
    ],
)
def test_what_cannot_work_is_said_with_its_place(tmp_path: Path, settings: str, place: str, said: str) -> None:
    (problem,) = _problems(tmp_path, settings)
    assert place in problem
    assert said in problem


def test_a_recognizer_of_the_policy_finds_patterns_and_words_and_passes_over_what_is_allowed(tmp_path: Path) -> None:
    own = (
        "request: redact, entities: [EMPLOYEE, PROJECT], recognizers: ["
        "{entity: EMPLOYEE, patterns: [{regex: 'no\\. (E[0-9]{6})', score: 0.2}], context: [staff], allow_list: [E000000]}, "
        "{entity: PROJECT, deny_list: [Blue Heron, C++]}]"
    )
    talk = Talk(policy(tmp_path, own))
    assert _content(talk, "staff no. E123456, guest no. E123456") == "staff no. <EMPLOYEE>, guest no. <EMPLOYEE>"
    assert _content(Talk(talk.policy), "a dozen words of another kind stand here before the no. E123456").endswith("E123456")
    assert _content(Talk(talk.policy), "staff no. E000000 of blue heron, Blue Herons and C++.") == (
        "staff no. E000000 of <PROJECT>, Blue Herons and <PROJECT>."
    )


def test_a_check_digit_decides_where_a_validator_is_named(tmp_path: Path) -> None:
    own = "request: redact, entities: [MEMBER], recognizers: [{entity: MEMBER, validator: luhn, patterns: [{regex: 'M[0-9]{8}'}]}]"
    assert _content(Talk(policy(tmp_path, own)), "M12345674 M12345675") == "<MEMBER> M12345675"


def test_values_on_the_allow_list_are_no_findings(tmp_path: Path) -> None:
    talk = Talk(policy(tmp_path, "request: redact, entities: [EMAIL_ADDRESS], allow_list: [Help@Example.com]"))
    assert _content(talk, "help@example.com a@example.com") == "help@example.com <EMAIL_ADDRESS>"


def test_secrets_are_found_without_being_asked_for(tmp_path: Path) -> None:
    text = "key sk-ant-api03-abcdefghijklmnopqrstuvwx, db postgres://bob:hunter22@db/x, password: fT9-xQ2-81zz"
    sent = _content(Talk(policy(tmp_path, "request: redact")), text)
    assert sent == "key <API_KEY>, db <CONNECTION_STRING>, password: <SECRET>"
