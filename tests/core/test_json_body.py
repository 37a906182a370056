"""Bodies are read strictly once and rewritten member by member."""

import json
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.errors import BodyError
from headrace.ext_proc.core.json_body import MAX_DEPTH, MAX_PARTS, encode, names_twice, parse, parse_lenient, put, render
from headrace.ext_proc.core.verdict import SetMember

REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "body.not_json", "Expecting value"),
    "blanks": (b" \n\t\r" * 1000, "body.not_json", "Expecting value"),
    "a word": (b"hello", "body.not_json", "Expecting value at character 0"),
    "cut off": (b'{"a": [1, 2', "body.not_json", "character 11"),
    "trailing": (b'{"a": 1} x', "body.not_json", "Extra data"),
    "two documents": (b'{"a": 1}{"a": 2}', "body.not_json", "Extra data"),
    "a comment": (b'{"a": 1 /* one */}', "body.not_json", "delimiter"),
    "single quotes": (b"{'a': 1}", "body.not_json", "property name"),
    "a control character in a string": (b'{"a": "\n"}', "body.not_json", "control character"),
    "NaN": (b'{"a": NaN}', "body.not_json", "NaN is not a JSON number"),
    "infinity": (b'{"a": -Infinity}', "body.not_json", "-Infinity is not a JSON number"),
    "a float beyond doubles": (b'{"a": 1e999}', "body.not_json", "too large"),
    "an integer of too many digits": (b'{"a": ' + b"9" * 5000 + b"}", "body.not_json", "too many digits"),
    "not UTF-8": (b'{"a": "\xff"}', "body.not_json", "not UTF-8 (byte 7)"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "body.not_json", "not UTF-8 (byte 0)"),
    "an encoded surrogate": (b'{"a": "\xed\xa0\x80"}', "body.not_json", "not UTF-8 (byte 7)"),
    "a byte order mark": (b'\xef\xbb\xbf{"a": 1}', "body.not_json", "Expecting value at character 0"),
    "a list": (b"[{}]", "body.not_object", "object"),
    "a string": (b'"a"', "body.not_object", "object"),
    "null": (b"null", "body.not_object", "object"),
    "a key twice": (b'{"a": 1, "b": 2, "a": 3}', "body.duplicate_key", 'key "a" twice'),
    "a key twice, escaped": (b'{"a": 1, "\\u0061": 2}', "body.duplicate_key", 'key "a" twice'),
    "a key twice, deep": (b'{"m": [{"x": {"a": 1, "a": 1}}]}', "body.duplicate_key", 'key "a" twice'),
    "a key twice but for capitals": (b'{"model": "a", "Model": "b"}', "body.duplicate_key", 'key "model" or "Model" twice'),
    "a key twice but for a long s": ('{"messages": [], "me\u017f\u017fages": []}'.encode(), "body.duplicate_key", "twice"),
    "a surrogate key twice": (b'{"\\ud800": 1, "\\ud800": 1}', "body.duplicate_key", r'key "\ud800" twice'),
    "too deep": (b'{"a":' * MAX_DEPTH + b"{}" + b"}" * MAX_DEPTH, "body.too_deep", f"more than {MAX_DEPTH} levels"),
    "a list, too deep": (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "body.too_deep", f"more than {MAX_DEPTH} levels"),
    "deeper than some interpreters go": (b"[" * 3_000 + b"]" * 3_000, "body.too_deep", f"more than {MAX_DEPTH} levels"),
    "a million lists": (
        b'{"a":[' + b"[]," * 1_000_000 + b"[]]}",
        "body.too_many_parts",
        f"more than {MAX_PARTS} objects and lists",
    ),
    "objects without an end, after a string": (
        b'{"a":"\\"",' + b'"a":{' * (MAX_PARTS + 1),
        "body.too_many_parts",
        "objects and lists",
    ),
    "far too deep": (b"[" * 100_000, "body.too_deep", f"more than {MAX_DEPTH} levels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_parsers_read_differently_is_refused_in_words(case: str) -> None:
    data, reason, words = REFUSED[case]
    with pytest.raises(BodyError) as refusal:
        parse(data)
    assert (refusal.value.reason, refusal.value.status) == (reason, 400)
    assert words in refusal.value.message


@pytest.mark.parametrize("spare", [0, 1])
def test_the_deepest_body_allowed_is_read(spare: int) -> None:
    depth = MAX_DEPTH - 1 - spare
    assert parse(b'{"a":' + b"[" * depth + b"]" * depth + b"}")


def test_many_shallow_members_are_not_deep() -> None:
    assert len(parse(b'{"a":[' + b"[1]," * 1000 + b"{}]}")["a"]) == 1001


def test_brackets_in_strings_are_no_parts() -> None:
    text = '[{\\"' * MAX_PARTS
    assert parse(('{"a": ["' + text + '"]}').encode()) == {"a": [text.replace("\\", "")]}


@pytest.mark.parametrize("end", [b"", b"\\", b'\\"'])
def test_a_string_without_an_end_is_no_json_however_many_quotes_it_has(end: bytes) -> None:
    with pytest.raises(BodyError) as refusal:
        parse(b'{"a": "' + b'\\"[' * 1_000_000 + end)
    assert refusal.value.reason == "body.not_json"


def test_keys_that_differ_in_more_than_capitals_are_two() -> None:
    assert parse(b'{"a": 1, "a ": 2, "A_": 3}') == {"a": 1, "a ": 2, "A_": 3}


def test_numbers_of_thirty_digits_are_read_exactly() -> None:
    assert parse(b'{"a": 123456789012345678901234567890}') == {"a": 123456789012345678901234567890}


def test_a_duplicate_key_is_found_without_comparing_every_pair() -> None:
    looked_at = 0

    class Name(str):
        def casefold(self) -> str:
            nonlocal looked_at
            looked_at += 1
            return super().casefold()

    pairs = [(Name(f"k{index}"), 0) for index in range(2000)] + [(Name("K1999"), 0)]
    unique = sys.modules["headrace.ext_proc.core.json_body"]._unique
    with pytest.raises(BodyError, match='"k1999" or "K1999"'):
        unique(pairs)
    assert looked_at <= 2 * len(pairs)


# --- rendering ---------------------------------------------------------------------------------------------------------------

NAMES = st.text(max_size=5)


def _folded(name: str) -> str:
    return name.casefold()


def objects(values: st.SearchStrategy[Any], least: int = 0) -> st.SearchStrategy[dict[str, Any]]:
    """Objects without two keys that some parser takes for one."""
    return st.lists(st.tuples(NAMES, values), unique_by=lambda pair: _folded(pair[0]), min_size=least, max_size=5).map(dict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | objects(inner),
    max_leaves=20,
)
OBJECTS = objects(JSON, least=1)


def _members(body: bytes) -> dict[str, bytes]:
    return {name: bytes(raw) for name, raw in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items()}


@given(OBJECTS, JSON, st.booleans(), st.sampled_from([(",", ":"), (" , ", " : ")]), st.data())
def test_a_rewritten_body_keeps_every_other_member_byte_for_byte(
    document: dict[str, Any], value: Any, ascii_only: bool, separators: tuple[str, str], data: st.DataObject
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, separators=separators).encode()
    others = NAMES.filter(lambda name: _folded(name) not in map(_folded, document))
    name = data.draw(st.sampled_from(sorted(document)) | others)
    written = render(body, [SetMember((name,), value)])
    assert parse(written) == {**parse(body), name: value}
    before, after = _members(body), _members(written)
    assert {key: raw for key, raw in after.items() if key != name} == {key: raw for key, raw in before.items() if key != name}


def test_members_beside_a_nested_edit_keep_their_spelling() -> None:
    body = b'{"x": 1.0E+2, "messages": [ {"role": "\\u0075ser", "content": "a", "n": -0}, {"content" : "\\/b"} ], "y": [1,  2]}'
    written = render(body, [SetMember(("messages", 0, "content"), "c")])
    assert written == b'{"x":1.0E+2,"messages":[{"role":"\\u0075ser","content":"c","n":-0},{"content" : "\\/b"}],"y":[1,  2]}'


EDITS: list[tuple[list[tuple[tuple[str | int, ...], Any]], Any]] = [
    ([(("a",), 1), (("a",), 2)], {"a": 2, "b": [{"c": 1}, 5]}),
    ([(("b", 0, "c"), 2), (("b", 1), 6)], {"a": 0, "b": [{"c": 2}, 6]}),
    ([(("b", 0, "c"), 2), (("b",), [])], {"a": 0, "b": []}),
    ([(("n",), {"x": {}}), (("n", "x", "y"), 1)], {"a": 0, "b": [{"c": 1}, 5], "n": {"x": {"y": 1}}}),
    ([(("b", 0), {"d": 1}), (("b", 0, "e"), 2)], {"a": 0, "b": [{"d": 1, "e": 2}, 5]}),
]


@pytest.mark.parametrize(("edits", "expected"), EDITS)
def test_edits_apply_in_order_to_the_bytes_as_to_the_document(edits: Any, expected: Any) -> None:
    body = b'{"a": 0, "b": [{"c": 1}, 5]}'
    document = parse(body)
    for path, value in edits:
        put(document, path, value)
    assert document == expected
    assert parse(render(body, [SetMember(path, value) for path, value in edits])) == expected


def test_half_a_surrogate_pair_anywhere_cannot_be_written_anew() -> None:
    with pytest.raises(BodyError, match="surrogate pair") as refusal:
        render(b'{"a": {"b": "\\ud83d"}, "c": 1}', [SetMember(("c",), 2)])
    assert refusal.value.reason == "body.lone_surrogate"


def test_a_new_value_with_half_a_surrogate_pair_is_escaped() -> None:
    assert encode({"a": "\ud83d"}) == b'{"a": "\\ud83d"}'


# --- answers -----------------------------------------------------------------------------------------------------------------

LENIENT: dict[str, tuple[bytes, Any]] = {
    "plain": (b'{"a": 1}', {"a": 1}),
    "a key twice": (b'{"a": 1, "a": 2}', {"a": 2}),
    "half a surrogate pair": (b'{"a": "\\ud83d"}', {"a": "\ud83d"}),
    "not UTF-8": (b'{"a": "\xff"}', {"a": "�"}),
    "a BOM": (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    "NaN is infinite here": (b'{"a": Infinity}', {"a": float("inf")}),
    "not JSON": (b"<html>", None),
    "empty": (b"", None),
    "far too deep": (b"[" * 100_000 + b"]" * 100_000, None),
}


@pytest.mark.parametrize("case", LENIENT)
def test_a_providers_json_is_read_as_its_callers_read_it(case: str) -> None:
    data, expected = LENIENT[case]
    assert parse_lenient(data) == expected


@pytest.mark.parametrize("made", [str.encode, str], ids=["bytes", "text"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_an_answer_is_read_as_deep_as_a_request(opening: str, closing: str, made: Callable[[str], str | bytes]) -> None:
    def nested(depth: int) -> str | bytes:
        return made(opening * (depth - 1) + "{}" + closing * (depth - 1))

    assert parse_lenient(nested(MAX_DEPTH)) == json.loads(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 900, 3_000, 100_000):  # decoders give up at different depths
        assert parse_lenient(nested(depth)) is None


@pytest.mark.parametrize(
    ("body", "twice"),
    [
        (b'{"a": 1, "b": [{"a": 1}]}', False),
        (b'{"b": [{"a": 1, "\\u0061": NaN}]}', True),
        (b'\xef\xbb\xbf{"a": 1, "a": 1}', True),
        (b"no", False),
        (b"[" * 100_000, False),
    ],
)
def test_a_name_that_comes_twice_is_seen(body: bytes, twice: bool) -> None:
    assert names_twice(body) is twice
