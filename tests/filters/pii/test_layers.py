"""What goes beyond Presidio's own findings: context words, encoded text, source code, secrets."""

import base64
import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.filters.pii.code import is_code, plausible
from headrace.filters.pii.custom import BadPattern, LinearPattern, LinearRecognizer, compiled, luhn, mod97, verhoeff
from headrace.filters.pii.detector import PatternDetector, entities
from headrace.filters.pii.rewriting import substituted
from headrace.filters.pii.secrets import ENTITIES, SECRETS
from headrace.filters.pii.spans import Span, disjoint
from headrace.filters.pii.views import views

DECODING = PatternDetector({"EMAIL_ADDRESS": 0.4, "CREDIT_CARD": 0.4, "IBAN_CODE": 0.4}, decode=True)
CONTEXT = PatternDetector(dict.fromkeys(entities(), 0.4), context=True)
HIDDEN = PatternDetector(dict.fromkeys(ENTITIES, 0.4), SECRETS)

_ENCODED = base64.b64encode(b"please write to jane@example.com today").decode()


# --- decode --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "written",
    [
        "jane%40example.com",
        "jane&#64;example.com",
        "jane&#x40;example.com",
        "jane&commat;example.com",
        r"jane\u0040example.com",
        r"jane\x40example.com",
        "j\u200bane@exam\u00adple.com",
        "ｊａｎｅ＠ｅｘａｍｐｌｅ．ｃｏｍ",
        "jane@\U0001d41e\U0001d431ample.com",
        "".join(chr(0xE0000 + ord(letter)) for letter in "jane@example.com"),
        "４１１１ １１１１ １１１１ １１１１",
        "4111\u00a01111\u00a01111\u00a01111",
        "GB33\u00a0BUKB\u00a02020\u00a01555\u00a05555\u00a055",
        "4111\u202f1111\u202f1111\u202f1111",
        "4111&nbsp;1111&nbsp;1111&nbsp;1111",
        "4111%C2%A01111%C2%A01111%C2%A01111",
        "4111\u20111111\u20111111\u20111111",
        "4111\u20131111\u20131111\u20131111",
        "4111\u22121111\u22121111\u22121111",
        "4111&#8209;1111&#8209;1111&#8209;1111",
        "٤١١١ ١١١١ ١١١١ ١١١١",
        "۴۱۱۱۱۱۱۱۱۱۱۱۱۱۱۱",
        "४१११-११११-११११-११११",
        "\uabf4" + "\uabf1" * 15,
        "&#1636;" + "&#1633;" * 15,
        "jane&#8203;@example.com",
        "jane%EF%BC%A0example.com",
        r"jane\uff20example.com",
        "jane%2540example.com",
        "jane%252540example.com",
        "jane&amp;#64;example.com",
        "jane&amp;amp;commat;example.com",
        _ENCODED,
        _ENCODED.rstrip("="),
    ],
)
def test_what_is_written_in_another_way_is_found_at_its_whole_place(written: str) -> None:
    text = f"so it is {written} and no other"
    assert [text[span.start : span.end] for span in DECODING.detect(text)] == [written]


@pytest.mark.parametrize(
    "within", ["x%20jane%40example.com%20y", "please write to jane\u200b@example.com", _ENCODED, f"more of {_ENCODED} in it"]
)
def test_what_is_written_in_another_way_within_base64_is_found(within: str) -> None:
    run = base64.b64encode(within.encode()).decode()
    text = f"so it is {run} and no other"
    assert [text[span.start : span.end] for span in DECODING.detect(text)] == [run]


@pytest.mark.parametrize("left", range(44, len(_ENCODED)))
def test_base64_that_is_cut_off_anywhere_is_read(left: int) -> None:
    """The address ends with its 44th character; some readers pass over what is no base64 and go on."""
    text = f"so it is {_ENCODED[:left]}:{_ENCODED[left:]} and no other"
    [found] = DECODING.detect(text)
    assert text[found.start : found.end] == _ENCODED[:left]


@pytest.mark.parametrize(
    "text", ["100% off & more; a\\dir\\u12 x", "antidisestablishmentarianism_and_functions", "a" * 5000, "=?%%&;"]
)
def test_what_only_looks_encoded_has_no_findings(text: str) -> None:
    assert DECODING.detect(text) == ()


@given(st.text(alphabet=st.sampled_from("a@.%4&#6;0\\ux \u200b\uff41\U000e0041é"), max_size=60))
@settings(max_examples=300, deadline=None)
def test_a_view_maps_every_character_into_the_text_and_in_order(text: str) -> None:
    for view in views(text):
        if view.starts is None or view.ends is None:
            continue
        assert len(view.starts) == len(view.ends) == len(view.text)
        assert list(view.starts) == sorted(view.starts)
        assert all(0 <= start < end <= len(text) for start, end in zip(view.starts, view.ends, strict=True))


def test_every_digit_of_the_basic_multilingual_plane_is_one() -> None:
    digits = [character for character in map(chr, range(0x80, 0x10000)) if unicodedata.category(character) == "Nd"]
    assert "".join(view.text for view in views("".join(digits))) == "0123456789" * (len(digits) // 10)
    for one, four in zip(digits[1::10], digits[4::10], strict=True):
        assert [span.entity for span in DECODING.detect(four + one * 15)] == ["CREDIT_CARD"]


NUMBERS = PatternDetector(
    {"EMAIL_ADDRESS": 0.4, "CREDIT_CARD": 0.4, "US_SSN": 0.4, "IBAN_CODE": 0.4, "PHONE_NUMBER": 0.4}, decode=True
)
ROWS = ["Ann\t536-90-4399\t4111111111111111", "DE89370400440532013000", "+1 415-555-2671", "ned@example.org", "<joan@example.org>"]
ROWS += ["-ned@example.org", "+joan@example.org", "-+1 415-555-2671"]  # of a diff
MEANT = ["Ann\t[US_SSN]\t[CREDIT_CARD]", "[IBAN_CODE]", "[PHONE_NUMBER]", "[EMAIL_ADDRESS]", "<[EMAIL_ADDRESS]>"]
MEANT += ["-[EMAIL_ADDRESS]", "+[EMAIL_ADDRESS]", "-[PHONE_NUMBER]"]


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("between", ["\n", "\t", "\r\n", "\f", "\u2028"])
def test_values_in_json_are_found_and_leave_it_json(between: str, depth: int) -> None:
    """As tools give their results. No finding takes a part of an escape with it."""
    text = between.join(["rows:", *ROWS, "end"])
    for _ in range(depth):
        text = json.dumps({"a": text}).replace("<", r"\u003c")
    left = substituted(text, disjoint(NUMBERS.detect(text)), lambda span, _: f"[{span.entity}]")
    for _ in range(depth):
        left = json.loads(left)["a"]
    assert left == between.join(["rows:", *MEANT, "end"])


def test_an_escape_is_none_where_nothing_is_meant_behind_it() -> None:
    text = r"in C:\temp\njane: write to \u or jane@example.com"
    assert [text[span.start : span.end] for span in DECODING.detect(text)] == ["jane@example.com"]


@pytest.mark.parametrize("text", ["\\" * 200_000, r"\u12" * 50_000])
def test_backslashes_without_end_are_read_once(text: str) -> None:
    """Each is the beginning of one run only. Read from each on, these take minutes."""
    assert list(views(text)) == []


# --- context ---------------------------------------------------------------------------------------------------------------------


def test_a_context_word_among_the_five_before_raises_a_score() -> None:
    (span,) = CONTEXT.detect("transfer it to my bank account 12345678")
    assert span == Span(31, 39, "US_BANK_NUMBER", 0.4)
    assert CONTEXT.detect("my bank account is one of many other things like 12345678") == ()
    assert CONTEXT.detect("some order 12345678") == ()


# --- code ------------------------------------------------------------------------------------------------------------------------

CODE = "def call(self, name):\n    self.items = self.call(os.name)\n    return [each.id for each in self.it]"


def test_code_is_told_from_prose() -> None:
    assert is_code(CODE)
    assert not is_code("Dear Jane, could you call me (or write) about the invoice? It is 3 days late; thanks.")


@pytest.mark.parametrize(
    ("text", "found"), [(CODE, []), ("see acme.com, or node.py", ["acme.com"]), ("at leeds.community now", ["leeds.community"])]
)
def test_a_domain_is_one_to_its_end_and_none_in_code(text: str, found: list[str]) -> None:
    spans = plausible(text, PatternDetector({"URL": 0.4}).detect(text))
    assert [text[span.start : span.end] for span in spans] == found


def test_in_code_a_name_has_to_be_written_as_one() -> None:
    spans = [Span(4, 8, "PERSON", 0.99), Span(0, 3, "EMAIL_ADDRESS", 1.0)]
    assert plausible(CODE, spans) == (spans[1],)
    text = f"{CODE}  # (c) Fredrik Lundh"
    author = Span(text.index("Fredrik"), len(text), "PERSON", 0.9)
    assert plausible(text, [author]) == (author,)


# --- secrets ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "entity", "value"),
    [
        ("use sk-proj-abcdefghijklmnop1234567890 now", "API_KEY", "sk-proj-abcdefghijklmnop1234567890"),
        ("AKIAIOSFODNN7EXAMPLE", "API_KEY", "AKIAIOSFODNN7EXAMPLE"),
        ("token ghp_" + "a1B2" * 9, "API_KEY", "ghp_" + "a1B2" * 9),
        ("x eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc_-9 y", "JWT", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc_-9"),
        (
            "db postgres://bob:s3cr3t@db.example.com:5432/x?y, ok",
            "CONNECTION_STRING",
            "postgres://bob:s3cr3t@db.example.com:5432/x?y",
        ),
        ("api_key = 'f3A9xQ77bLmN02zz'", "SECRET", "f3A9xQ77bLmN02zz"),
        ("the password is Tr0ub4dor&3x!", "SECRET", "Tr0ub4dor&3x!"),
    ],
)
def test_secrets_are_found(text: str, entity: str, value: str) -> None:
    assert (entity, value) in [(span.entity, text[span.start : span.end]) for span in HIDDEN.detect(text)]


@pytest.mark.parametrize("depth", range(4))
@pytest.mark.parametrize("around", ['x = "{}"\ny', '{{"k":"{}","l":[1]}}', "\n-{} ", "\n+{}\n"])
@pytest.mark.parametrize(
    "value",
    [
        "postgres://bob:s3cr3t@db.example.com:5432/x?y",
        "Server=db;Password=hunter2secret",
        "password: fT9-xQ2-81zz",
    ],
)
def test_secrets_in_json_leave_it_json(value: str, around: str, depth: int) -> None:
    """As agents' tools give files. No finding takes a quotation mark, or a part of an escape, with it."""
    text = around.format(value)
    for _ in range(depth):
        text = json.dumps({"a": text})
    detector = PatternDetector(dict.fromkeys(ENTITIES, 0.4), SECRETS, decode=True)
    left = substituted(text, disjoint(detector.detect(text)), lambda span, _: f"[{span.entity}]")
    assert not [secret for secret in ("s3cr3t", "hunter2", "fT9-") if secret in left]
    for _ in range(depth):
        left = json.loads(left)["a"]
    assert left.startswith(around.partition("{}")[0].replace("{{", "{"))


@pytest.mark.parametrize(
    "text", ["the password is forgotten", "sk-learn and task-runner", "self.password = get_password_from(config)", "token: none"]
)
def test_words_about_secrets_are_none(text: str) -> None:
    assert HIDDEN.detect(text) == ()


# --- patterns of a policy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pattern", ["(a+)+(?=b)", r"(a)\1", "a*", "(", "a" * 3000, "a{2000}"])
def test_a_pattern_that_is_not_linear_or_matches_nothing_is_refused(pattern: str) -> None:
    with pytest.raises(BadPattern):
        compiled(pattern)


@pytest.mark.parametrize(("pattern", "found"), [(r"Nr \w+", "Nr M"), (r"Nr [\pL\d_]+", "Nr Müller")])
def test_a_policy_s_classes_know_ascii_alone_where_they_do_not_name_letters(pattern: str, found: str) -> None:
    detector = PatternDetector({"X": 0.1}, [LinearRecognizer("x", "X", (LinearPattern(pattern, 0.5),))])
    text = "an Nr Müller gesandt"
    assert [text[span.start : span.end] for span in detector.detect(text)] == [found]


def test_a_pattern_that_other_engines_choke_on_is_searched_in_linear_time() -> None:
    hostile = PatternDetector({"X": 0.1}, [LinearRecognizer("x", "X", (LinearPattern("(a+)+$", 0.5),))])
    assert hostile.detect("a" * 3000 + "!") == ()
    assert hostile.detect("b aaa") == (Span(2, 5, "X", 0.5),)


def test_half_of_a_surrogate_pair_and_letters_of_any_script_do_not_move_a_finding() -> None:
    detector = PatternDetector({"X": 0.1}, [LinearRecognizer("x", "X", words=("blue",))])
    assert detector.detect("\ud800 ü BLUE 日") == (Span(4, 8, "X", 1.0),)
    assert detector.detect("übluex blue_ éblue") == ()


def test_check_digits() -> None:
    assert luhn("4111 1111 1111 1111") and not luhn("4111 1111 1111 1112")
    assert mod97("DE89 3704 0044 0532 0130 00") and not mod97("DE88 3704 0044 0532 0130 00")
    assert verhoeff("2363") and not verhoeff("2364")


def _named(text: str, value: str, entity: str = "PERSON", score: float = 0.95) -> bool:
    """Whether a model's finding stands."""
    start = text.index(value)
    return bool(plausible(text, [Span(start, start + len(value), entity, score)]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"first_name": "Jane", "city": "Leeds", "age": 33}', "Jane"),
        ('{"first_name": "Jane", "city": "Leeds", "age": 33}', "Leeds"),
        ('[{"name": "X", "address": "12 Main Street, Leeds"}, {"n": []}]', "12 Main Street, Leeds"),
        ('{"results": [{"note": "called Priya back", "n": [1, 2]}]}', "Priya"),
        ('{"user": "jane", "roles": ["admin"], "n": {}}', "jane"),
        ('{"user": "DOE", "roles": ["admin"], "n": {}}', "DOE"),
        ("<person><first>Jane</first><last>Doe</last></person>", "Doe"),
        ("name: X\ncity: Leeds\nroles: [vip]\nopen: {}\n", "Leeds"),
        ("print(greet('Jane'), sep=x_y)", "Jane"),
    ],
)
def test_names_in_data_stand_though_its_marks_are_those_of_code(text: str, value: str) -> None:
    assert is_code(text)
    assert _named(text, value)


@pytest.mark.parametrize(
    ("text", "value", "entity"),
    [
        ("x = Weibull(a, b); y = pareto[0]", "Weibull", "PERSON"),
        ("if len(args) > 1: return x_y", "len", "PERSON"),
        ('_add("HAVE_LCHOWN", x["chown"])', "HAVE_LCHOWN", "PERSON"),
        ("A line of prose that is long enough to be no code at all.\n        if len(args) > 0 or x_y in kws:", "len", "PERSON"),
        ("the function Weibull(alpha, beta) has two parameters", "Weibull", "PERSON"),
        ("it implements RFCs 2047 and 5322.", "5322", "LOCATION"),
        ("see pages 12, 17-18 and 42195 of it", "42195", "LOCATION"),
        ("files in both dir1 and dir2 are compared", "dir1 and dir2", "LOCATION"),
        ("what is in dir2 alone", "dir2", "LOCATION"),
        ("    return self._name", "self._name", "EMAIL_ADDRESS"),
        ("see issue 16662 for what was decided then", "16662", "LOCATION"),
        ("this was fixed in #759889, long ago", "759889", "LOCATION"),
        ("as PEP 338 has it, and pp. 87-88 of the book", "PEP 338", "LOCATION"),
        ("name = 'FETCH'; typ, dat = self.uid(name, x[0])", "FETCH", "PERSON"),
        ("as PEP 338 has it, and pp. 87-88 of the book", "87-88", "LOCATION"),
        ("available as blake2b512 and blake2s256 as well", "2b512", "US_DRIVER_LICENSE"),
        ("the tuple became a dict with bpo-42202 in the next version", "42202", "US_DRIVER_LICENSE"),
        ("# Python 2.6a1: 62161 (a peephole optimization)", "62161", "LOCATION"),
        ("mdays = [0, 31, 28, 31, 30]; x_y = mdays[1]", "31, 28, 31, 30", "LOCATION"),
        ("    'Aring;': '\\xc5',\n    'Atilde;': '\\xc3',\n    'Beta;': '\\u0392',\n", "Aring", "PERSON"),
        ("a base class of it is CCompiler, which knows no platform", "CCompiler", "PERSON"),
        ("they write numbers with TkAqua on that platform", "TkAqua", "LOCATION"),
        ("from threading import Lock, Semaphore", "Semaphore", "PERSON"),
        ("a sentence of prose comes before it\n    if withyear:", "withyear", "PERSON"),
    ],
)
def test_words_and_numbers_of_code_are_no_names_and_no_places(text: str, value: str, entity: str) -> None:
    assert not _named(text, value, entity)


@pytest.mark.parametrize(
    "text",
    [
        "my postcode is 62701, as it says on the letter",
        "between 10115 and 62701 it rained",
        '{"zip": "62701", "n": [{}]}',
        "<a><zip>62701</zip></a>",
        "zip: 62701\nx: {}\ny: []",
    ],
)
def test_a_postcode_stands_in_prose_and_in_data(text: str) -> None:
    assert _named(text, "62701", "LOCATION")


@pytest.mark.parametrize(
    "name", ["DeShawn", "LaToya", "McKenzie", "MacLeod", "McDONALD", "DiCaprio", "JoAnn", "O'Brien", "AnneMarie"]
)
def test_a_name_with_a_capital_within_is_no_identifier(name: str) -> None:
    assert _named(f"the letter was for {name} and nobody else", name)


@pytest.mark.parametrize(
    "written", ["'MAPPINGS/ISO8859/[8859-6].TXT'", "'MAPPINGS/ISO8859/[8859]-3.TXT'", "is renamed with a [.bak ]extension"]
)
def test_names_of_files_are_no_places(written: str) -> None:
    start, end = written.index("["), written.index("]") - 1
    assert plausible(written.replace("[", "").replace("]", ""), [Span(start, end, "LOCATION", 0.8)]) == ()


def test_a_place_with_a_number_and_a_mail_address_written_in_another_way_stand() -> None:
    assert _named("from postcode sw1 to e17 in half an hour", "sw1", "LOCATION")
    assert _named("write to jane_doe%40example.com", "jane_doe%40example.com", "EMAIL_ADDRESS")


CODED = PatternDetector(dict.fromkeys(entities(), 0.4), layers=[plausible])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('if self.ld_version >= "2.10.90":', []),
        ("Microsoft Windows XP [Version 5.12.26]", []),
        ("<td>12.05.1984</td> was the day, and dob >= '12.05.1984'", ["12.05.1984", "12.05.1984"]),
        ("for child in children[::2]:", []),
        ("listen on http://[::1]:80/ and on ::1", ["::1", "::1"]),
        ("SERVER_AUTH = '1.3.6.1.5.5.7.3.1'", []),
        ("IP 192.168.1.5.51234 > 10.0.0.1.443: Flags [S]", ["192.168.1.5", "10.0.0.1"]),
        ("' !\"#$%&*+,-./' '0123456789' ':;<=>?'", []),
    ],
)
def test_a_programs_numbers_are_no_dates_and_no_addresses(text: str, found: list[str]) -> None:
    assert [text[each.start : each.end] for each in CODED.detect(text) if each.entity != "URL"] == found
