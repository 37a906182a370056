"""Placeholders become values again, however the text is cut, and nothing else does."""

import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.filters.pii.placeholders import Placeholders, look_alikes, name_of, tenant_key
from headrace.filters.pii.restore import Restorer, Tokens

KEY = tenant_key(b"secret", "acme")


HELD = Placeholders(KEY)
VALUES = HELD.values
TOKENS = [
    HELD.of("EMAIL_ADDRESS", 'jane"\\@example.com'),
    HELD.of("PHONE_NUMBER", "+1 415 555 2671"),
    HELD.of("URL", "http://é.com\n"),
]
_SPELLINGS: list[Callable[[str], str]] = [
    str,
    str.lower,
    lambda token: token.replace("<", "\\u003c").replace(">", "\\u003E"),
    lambda token: token.replace("_", "\\_"),
    lambda token: token.replace("_", "\\\\_").replace(">", "\\\\>"),
    lambda token: token.replace("<", "\\<").replace(">", "\\>"),
    lambda token: token.replace("<", "&lt;").replace(">", "&gt;"),
]
_WHOLE = [spell(token) for token in TOKENS for spell in _SPELLINGS]
_BITS = ["<", ">", "\\", "\\u003c", "\\u00", "&", "&l", "a", " é", "<URL_", "**", "_"]
PIECES = st.sampled_from([*_WHOLE, *(spelled[:-1] for spelled in _WHOLE), *_BITS])


def restored(tokens: Tokens, text: str) -> str:
    return Restorer(tokens).whole(text)


def _in_pieces(text: str, cuts: list[int], tokens: Tokens) -> str:
    restorer = Restorer(tokens)
    bounds = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in pairwise(bounds)]
    return "".join(map(restorer.feed, pieces)) + restorer.flush()


@given(st.lists(PIECES, max_size=12).map("".join), st.lists(st.integers(0, 500), max_size=20))
@settings(max_examples=2000, deadline=None)
def test_the_cuts_make_no_difference(text: str, cuts: list[int]) -> None:
    for tokens in (Tokens(VALUES), Tokens(VALUES, json=True)):
        assert _in_pieces(text, cuts, tokens) == restored(tokens, text)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_one_character_at_a_time_gives_what_the_whole_gives(text: str) -> None:
    restorer = Restorer(Tokens(VALUES))
    assert "".join(map(restorer.feed, text)) + restorer.flush() == restored(Tokens(VALUES), text)


def test_a_token_is_restored_in_any_case_and_amid_markdown() -> None:
    token = TOKENS[1]
    assert restored(Tokens(VALUES), f"**{token.lower()}**, `{token.upper()}`") == "**+1 415 555 2671**, `+1 415 555 2671`"


def test_a_token_is_restored_with_the_escapes_of_markdown_and_html() -> None:
    token = TOKENS[1]
    for spelled in (
        token.replace("_", "\\_"),
        "\\" + token.replace("_", "\\_").replace(">", "\\>"),
        token.replace("<", "&lt;").replace(">", "&gt;"),
    ):
        assert restored(Tokens(VALUES), f"**{spelled}**") == "**+1 415 555 2671**"
        assert restored(Tokens(VALUES, json=True), json.dumps(spelled)) == '"+1 415 555 2671"'
        assert set(look_alikes(spelled)) == set(look_alikes(json.dumps(spelled))) == {token.lower()}


def test_a_backslash_that_ends_a_path_stays_before_a_value() -> None:
    assert restored(Tokens(VALUES), f"C:\\{TOKENS[1]}") == "C:\\+1 415 555 2671"


def test_text_without_a_beginning_of_a_token_is_not_held() -> None:
    restorer = Restorer(Tokens(VALUES))
    assert restorer.feed("a < b and <em>") == "a < b and <em>"
    assert restorer.feed("<EMAIL") == ""
    assert restorer.feed("S>") == "<EMAILS>"


def test_what_is_held_is_never_longer_than_a_token_with_its_escapes() -> None:
    restorer = Restorer(Tokens(VALUES))
    longest = max(map(len, TOKENS))
    given_out = 0
    for count, character in enumerate("<EMAIL_ADDRESS_" * 50, 1):
        given_out += len(restorer.feed(character))
        assert count - given_out < longest


def test_without_tokens_everything_passes_at_once() -> None:
    assert Restorer(Tokens({})).feed("<EMAIL_ADDRESS_aaaaaaaa>") == "<EMAIL_ADDRESS_aaaaaaaa>"


def test_a_token_of_another_tenant_is_not_restored() -> None:
    other = Placeholders(tenant_key(b"secret", "other")).of("EMAIL_ADDRESS", 'jane"\\@example.com')
    assert name_of(other) not in VALUES
    assert restored(Tokens(VALUES), other) == other


@pytest.mark.parametrize("value", ['quote " and \\ and \n', "é\u2028", "\ud800", "</script>"])
def test_arguments_stay_valid_json_when_a_value_is_put_into_them(value: str) -> None:
    placeholders = Placeholders(KEY)
    token, values = placeholders.of("SECRET", value), placeholders.values
    for spelling in (token, token.replace("<", "\\u003c").replace(">", "\\u003e")):
        arguments = restored(Tokens(values, json=True), f'{{"to": "x {spelling}", "path": "C:\\\\u003c"}}')
        assert json.loads(arguments) == {"to": f"x {value}", "path": "C:\\u003c"}


def test_an_escaped_backslash_before_a_token_is_not_taken_for_an_escape() -> None:
    spelled = TOKENS[0].replace("<", "\\u003c").replace(">", "\\u003e")
    arguments = f'{{"a": "\\{spelled}"}}'  # a backslash, then the letters u003c
    assert restored(Tokens(VALUES, json=True), arguments) == arguments


# --- placeholders ----------------------------------------------------------------------------------------------------------------


def test_the_same_value_has_the_same_placeholder_in_every_exchange_of_a_tenant() -> None:
    first, second = Placeholders(KEY), Placeholders(KEY)
    second.of("EMAIL_ADDRESS", "someone@else.com")
    assert first.of("EMAIL_ADDRESS", "jane@example.com") == second.of("EMAIL_ADDRESS", "jane@example.com")
    assert first.of("EMAIL_ADDRESS", "jane@example.com") != first.of("EMAIL_ADDRESS", "joan@example.com")


def test_a_placeholder_tells_the_entity_and_nothing_of_the_value_without_the_key() -> None:
    token = Placeholders(KEY).of("US_SSN", "536-90-4399")
    assert token.startswith("<US_SSN_") and len(token) == len("<US_SSN_") + 8 + 1
    assert token != Placeholders(tenant_key(b"other secret", "acme")).of("US_SSN", "536-90-4399")


def test_a_look_alike_in_the_request_is_never_given_a_value() -> None:
    usual = Placeholders(KEY).of("EMAIL_ADDRESS", "jane@example.com")
    avoid = frozenset(look_alikes(f"please repeat {usual.upper()} to me"))
    assert avoid == {usual.lower()} == set(look_alikes("\\u003C" + usual[1:-1] + "\\u003e"))
    placeholders = Placeholders(KEY, avoid)
    assert placeholders.of("EMAIL_ADDRESS", "jane@example.com").lower() != usual.lower()
    assert restored(Tokens(placeholders.values), usual) == usual


def test_values_whose_hashes_collide_get_different_placeholders(monkeypatch: pytest.MonkeyPatch) -> None:
    def narrow(_: Placeholders, __: str, ___: str, attempt: int) -> str:
        return f"{attempt:08}"

    monkeypatch.setattr(Placeholders, "_suffix", narrow)
    placeholders = Placeholders(KEY)
    made = [placeholders.of("URL", f"http://{n}.com") for n in range(20)]
    assert len(set(made)) == 20
    assert [placeholders.values[name_of(token)] for token in made] == [f"http://{n}.com" for n in range(20)]


@given(st.text(max_size=20), st.sampled_from(["URL", "US_SSN", "PHONE_NUMBER"]))
def test_no_placeholder_is_the_beginning_of_another(value: str, entity: str) -> None:
    placeholders = Placeholders(KEY)
    made = {placeholders.of(entity, value), placeholders.of(entity, value + "x"), placeholders.of("URL", value)}
    assert not any(a != b and b.startswith(a) for a in made for b in made)
