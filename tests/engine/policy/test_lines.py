"""YAML that remembers its lines, and hostile YAML."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from headrace.ext_proc.engine.policy.lines import MAX_BYTES, MAX_DEPTH, parse, read
from headrace.ext_proc.engine.policy.problems import PolicyErrors

DEEP = f"nested more than {MAX_DEPTH} levels deep"


def problems(data: bytes | str) -> list[str]:
    with pytest.raises(PolicyErrors) as raised:
        parse(data if isinstance(data, bytes) else data.encode(), "p.yaml")
    return [str(problem) for problem in raised.value.problems]


def test_each_place_knows_its_line() -> None:
    located = parse(b"a: 1\nb:\n  - x\n  - c:\n      d: [1,\n        2]\n", "p.yaml")
    assert located.value == {"a": 1, "b": ["x", {"c": {"d": [1, 2]}}]}
    lines = {"a": 1, "b": 2, "b.0": 3, "b.1": 4, "b.1.c": 4, "b.1.c.d": 5, "b.1.c.d.0": 5, "b.1.c.d.1": 6}
    assert {".".join(map(str, where)): line for where, line in located.lines.items() if where} == lines


def test_a_place_that_is_not_in_the_file_has_the_line_around_it() -> None:
    located = parse(b"a:\n  b:\n    c: 1\n", "p.yaml")
    assert located.line_of(("a", "b", "missing", 3)) == 2
    assert located.line_of(("elsewhere",)) == 1


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12),
        ("-1_000", -1000),
        ("0x1f", 31),
        ("0o17", 15),
        ("0.60", 0.6),
        ("1e3", 1000.0),
        ("true", True),
        ("~", None),
        ("", None),
        ("off", "off"),
        ("yes", "yes"),
        ("017", "017"),
        ("2026-01-01", "2026-01-01"),
        ("12:30", "12:30"),
        ("'5'", "5"),
        ("!!str 5", "5"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_those_of_json_and_everything_else_is_text(text: str, value: Any) -> None:
    found = parse(f"a: {text}\n".encode(), "p.yaml").value["a"]
    assert found == value
    assert type(found) is type(value)


KEYS = st.text(max_size=80)  # YAML wants a key's colon within 1,024 characters; an escape has up to twelve
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_json_is_read_as_json(document: dict[str, Any]) -> None:
    def keys(value: Any) -> list[str]:
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return [*(value if isinstance(value, dict) else ()), *(key for child in children for key in keys(child))]

    if "<<" not in keys(document):
        assert parse(json.dumps(document).encode(), "p.yaml").value == document


def test_aliases_stand_for_what_they_name() -> None:
    located = parse(b"a: &x {k: [1]}\nb: *x\n", "p.yaml")
    assert located.value == {"a": {"k": [1]}, "b": {"k": [1]}}
    assert located.line_of(("b", "k", 0)) == 2


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3\n", "p.yaml:3: key 'a' is given twice; first on line 1"),
        ("a:\n\tb: 1\n", "p.yaml:2: not well-formed YAML: a tab where blanks are due"),
        ("a:\n    b: 1\n  c: 2\n", "p.yaml:3: not well-formed YAML: indented unlike the lines above it"),
        (
            "a:\n  - b: {}\n  c: {}\n",
            "p.yaml:3: not well-formed YAML: a key where an item of the list above it is due; begin it with a dash",
        ),
        (
            "a:\n  b: 1\n  - c\n",
            "p.yaml:3: not well-formed YAML: an item of a list among keys, or indented unlike the items above it",
        ),
        ('a: "\\d"\n', "p.yaml:1: not well-formed YAML: a backslash in double quotes begins an escape; use single quotes"),
        ("a: [1\n", "p.yaml:2: not well-formed YAML: expected ',' or ']', but got '<stream end>'"),
        ('a: "x\n', "p.yaml:2: not well-formed YAML: found unexpected end of stream"),
        ("a: b: c\n", "p.yaml:1: not well-formed YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 1\n", "p.yaml:2: a second document starts here; a file holds one"),
        ("", "p.yaml:1: is empty"),
        ("# nothing\n", "p.yaml:1: is empty"),
        ("- a\n", "p.yaml:1: must be a mapping of keys to values"),
        ("? [a]\n: 1\n", "p.yaml:1: a key must be a plain word"),
        ("a: 1\n*b : 1\n", "p.yaml:2: a key must be a plain word"),
        ("a: !!python/object:os.system 1\n", "p.yaml:1: the tag tag:yaml.org,2002:python/object:os.system is not supported"),
        ("a: !env HOME\n", "p.yaml:1: the tag !env is not supported"),
        ("a: &x {k: 1}\nb: {<<: *x}\n", "p.yaml:2: merging with << is not supported; write the keys out"),
        ("a: *x\n", "p.yaml:1: *x stands for nothing that ended above it"),
        ("a: &x [*x]\n", "p.yaml:1: *x stands for nothing that ended above it"),
        ("a: .inf\n", "p.yaml:1: .inf is not a finite number"),
        ("a: .nan\n", "p.yaml:1: .nan is not a finite number"),
        ("a: 1\nb: 9e999\n", "p.yaml:2: 9e999 is not a finite number"),
        ('a: "\\ud800"\n', "p.yaml:1: an escape here is half of a surrogate pair, which is no character"),
        ("a: 1\nb: \x07\n", "p.yaml:2: character U+0007 may not stand in YAML; write it as an escape in quotes"),
        ("a: " + "[" * 3000, f"p.yaml:1: {DEEP}"),
        ("a:\n" + "".join(" " * n + "-\n" for n in range(1, 100)), f"p.yaml:{MAX_DEPTH + 1}: {DEEP}"),
    ],
)
def test_what_is_no_plain_document_is_refused_at_its_line(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_bytes_that_are_no_utf_8_are_refused_at_their_line() -> None:
    assert problems(b"a: 1\nb: \xff\n") == ["p.yaml:2: byte 0xff is not UTF-8"]


def test_a_byte_order_mark_is_no_matter() -> None:
    assert parse(b"\xef\xbb\xbfa: 1\n", "p.yaml").value == {"a": 1}


def test_aliases_of_aliases_end_before_they_explode() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    (problem,) = problems(bomb)
    assert "values, those behind aliases counted each time" in problem


def test_duplicates_are_all_reported() -> None:
    assert len(problems("a: 1\na: 2\nb: {c: 1, c: 2}\n")) == 2


@pytest.mark.parametrize("name", ["missing.yaml", "folder", "nul\0byte"])
def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(PolicyErrors):
        read(tmp_path / name)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(PolicyErrors, match="is larger than 1,048,576 bytes"):
        read(path)


@settings(deadline=None)
@given(st.text(alphabet="abc01 :-[]{},&*#'\"\n\t|>!%@?~\\\x85\ufeff\ud800", max_size=60))
def test_any_text_is_a_mapping_or_a_problem(text: str) -> None:
    try:
        assert isinstance(parse(text.encode("utf-8", "surrogatepass"), "p.yaml").value, dict)
    except PolicyErrors as errors:
        assert errors.problems


@settings(deadline=None)
@given(st.text(alphabet="ab01 :-[]{},#'\"\n|>", max_size=60))
def test_structure_agrees_with_ruamel(text: str) -> None:
    try:
        found = parse(text.encode(), "p.yaml").value
    except PolicyErrors:
        return
    theirs = YAML(typ="safe", pure=True).load(text)
    assert json.dumps(shape(found)) == json.dumps(shape(theirs))


def shape(value: Any) -> Any:
    """Keys and nesting; scalars differ in type where YAML 1.2 knows more of them than JSON."""
    if isinstance(value, dict):
        return [shape(child) for child in value.values()]
    return [shape(child) for child in value] if isinstance(value, list) else 0
