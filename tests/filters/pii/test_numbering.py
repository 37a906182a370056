"""What is dropped before phonenumbers parses it is nothing that phonenumbers would find."""

import os
import random

import phonenumbers
import pytest
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, Leniency, PhoneMetadata, PhoneNumberMatcher, country_code_for_region

from headrace.filters.pii.numbering import KINDS, impossible, is_certainly_valid, is_certainly_valid_in
from headrace.filters.pii.phone import PhoneFinder

LONG = 1_000 if os.environ.get("HEADRACE_LONG") else 50
REGIONS = ("US", "GB", "DE", "FR", "IL", "IN", "CA", "BR")
HYPHENATED = ("999-99-9999", "9999-99-99", "99-99-99-99-99", "99999-9999", "9-9999-9999", "999-9999")
IN_ONE_PIECE = ("999999999", "9999999999", "99999999999")
IN_PARTS = ("999.999.9999", "99 9999 9999", "(999) 999-9999", "99/99/9999", "999 99-99 99")
SHAPES = (*HYPHENATED, *IN_ONE_PIECE, *IN_PARTS)
PREFIXES = ("", "", "", "0", "00", "1", "55", "90", "44", "49", "972", "91", "33", "011")


def candidates(region: str, count: int) -> list[str]:
    rng = random.Random(region)
    made = []
    for _ in range(count):
        digits = "".join(rng.choice("0123456789") if each == "9" else each for each in rng.choice(SHAPES))
        prefix = rng.choice(PREFIXES)
        made.append(prefix + digits[len(prefix) :] if digits[0].isdigit() else digits)
    return made


def national(region: str, count: int) -> list[str]:
    """Numbers of every kind that regions with its country's code have, by their examples, and near misses."""
    rng = random.Random(region)
    metadata = [PhoneMetadata.metadata_for_region(each) for each in COUNTRY_CODE_TO_REGION_CODE[country_code_for_region(region)]]
    described = [getattr(each, kind) for each in metadata if each is not None for kind in KINDS]
    examples = [each.example_number for each in described if each is not None and each.example_number]
    made = []
    for _ in range(count):
        digits = "".join(rng.choice("0123456789") if rng.random() < 0.1 else digit for digit in rng.choice(examples))
        cut = rng.randrange(1, len(digits))
        gap = rng.choice(("", "-", "-", " ", "."))
        made.append(f"{rng.choice(PREFIXES)}{digits[:cut]}{gap}{digits[cut:]}{rng.choice(('', '', '', '5'))}")
    return made


@pytest.mark.parametrize("region", REGIONS)
def test_what_is_not_possible_is_never_found(region: str) -> None:
    dropped = found = 0
    for candidate in [*candidates(region, 30 * LONG), *national(region, 20 * LONG)]:
        matches = list(PhoneNumberMatcher(candidate, region, leniency=Leniency.VALID))
        if list(impossible(candidate, [region])):
            dropped += 1
            assert not matches, candidate
        found += bool(matches)
    assert dropped > 6 * LONG, "the check is worth its cost"
    assert found > LONG, "there is something to be dropped wrongly"


def test_a_number_without_the_prefix_that_its_region_writes_is_not_possible() -> None:
    assert set(impossible("536-90-4399", REGIONS)) == set(REGIONS)
    assert set(impossible("536904399", ("FR", "DE"))) == {"FR", "DE"}
    assert not list(impossible("0536-904399", ["DE"])) and not list(impossible("415-555-2671", ["US"]))


def international(count: int) -> list[str]:
    """Numbers of every country's code, some by its examples, and near misses."""
    rng = random.Random(4)
    made = []
    for code, regions in COUNTRY_CODE_TO_REGION_CODE.items():
        metadata = PhoneMetadata.metadata_for_region(regions[0], None)
        described = [each for each in (metadata and metadata.fixed_line, metadata and metadata.mobile) if each]
        for _ in range(count):
            example = next(
                (each.example_number for each in rng.sample(described, len(described)) if each.example_number), "5550100"
            )
            digits = "".join(rng.choice("0123456789") if rng.random() < 0.2 else digit for digit in example)
            cut = rng.randrange(2, 5)
            written = rng.choice((digits, f"{digits[:cut]} {digits[cut:]}", f"{digits[:cut]}-{digits[cut:-4]}-{digits[-4:]}"))
            made.append(f"+{code}{rng.choice(' -.')}{written}")
            made.append(f"+{code} ({digits[:3]}) {digits[3:]}")
            made.append(f"+{code}{rng.choice(('0', '1', '8', ''))}{digits}{rng.choice(('', '7'))}")
    return made


def test_what_is_certainly_valid_is_found_whole_from_every_region() -> None:
    certain = [candidate for candidate in international(6) if is_certainly_valid(candidate)]
    assert len(certain) > 1_500, "the check is worth its cost"
    for index, candidate in enumerate(certain):
        text = f"call {candidate}, please"
        found = [
            (match.start, match.end)
            for match in PhoneNumberMatcher(text, REGIONS[index % len(REGIONS)], leniency=Leniency.VALID, max_tries=100)
        ]
        assert found == [(5, 5 + len(candidate))], candidate


def test_nothing_that_may_be_read_in_two_ways_is_certain() -> None:
    for candidate in (
        "+44 (0)20 7946 0123",
        "+1 1 415-555-2671",
        "+49 (0) 30 123456",
        "4155552671",
        "+1 415-555-2671 x12",
        "+999 123456",
    ):
        assert not is_certainly_valid(candidate), candidate
    assert (
        is_certainly_valid("+1 415-555-2671") and is_certainly_valid("+1 (415) 555-2671") and is_certainly_valid("+44 20 7946 0123")
    )


@pytest.mark.parametrize("region", REGIONS)
def test_what_is_certainly_valid_in_a_region_is_found_whole_there(region: str) -> None:
    made = [*candidates(region, 20 * LONG), *national(region, 40 * LONG), *(f"0{number}" for number in national(region, 20 * LONG))]
    certain = [candidate for candidate in made if is_certainly_valid_in(candidate, region)]
    assert len(certain) > LONG // 2, "the check is worth its cost"
    for candidate in certain:
        matches = PhoneNumberMatcher(f"call {candidate}, please", region, leniency=Leniency.VALID, max_tries=100)
        assert [(match.start, match.end) for match in matches] == [(5, 5 + len(candidate))], candidate


# --- candidates of many groups ---------------------------------------------------------------------------------------------------

GAPS = (*" -./(", ") ", " - ", "  ", "//", "", "\u00a0", "\u3000", "\u2013", "\uff0d", "\uff0f", "~", " x", ",")
BEFORE = (*PREFIXES, "+", "(+", "+0", "+00", "+49 ", "+39 0", "+800", "+999", "0 ", "0 0 ", "1 ", "0 15 ", "0021 ", "90 ", "(0)")
OTHER_DIGITS = tuple({ord(str(digit)): chr(zero + digit) for digit in range(10)} for zero in (0xFF10, 0x660, 0x1D7CE))


def groups(rng: random.Random) -> str:
    """Some thirty digits at most in groups, as tables have them."""
    gaps, digits = rng.sample(GAPS, rng.randrange(1, 4)), rng.randrange(1, 6)
    return "".join(f"{rng.randrange(10**digits)}{rng.choice(gaps)}" for _ in range(rng.randrange(1, 25)))


def scattered(rng: random.Random, number: str) -> str:
    """A number behind what may be dialled before it, with gaps between its digits."""
    share = rng.choice((0.0, 0.2, 1.0))
    return rng.choice(BEFORE) + "".join(digit + (rng.choice(GAPS) if rng.random() < share else "") for digit in number)


def tables(count: int) -> list[str]:
    rng = random.Random(8)
    numbers = [number for region in REGIONS for number in national(region, 20)]
    made = []
    for _ in range(count):
        text = " and ".join(rng.choice((groups(rng), scattered(rng, rng.choice(numbers)))) for _ in range(2))
        made.append(text.translate(rng.choice(OTHER_DIGITS)) if rng.random() < 0.2 else text)
    return made


def test_of_tables_the_matchers_of_all_regions_find_the_same() -> None:
    finder, hits = PhoneFinder(REGIONS), 0
    for text in tables(8 * LONG):
        matchers = (PhoneNumberMatcher(text, region, leniency=Leniency.VALID, max_tries=10**6) for region in REGIONS)
        expected = {(match.start, match.end) for each in matchers for match in each}
        assert set(finder.find(text)) == expected, text
        hits += len(expected)
    assert hits > LONG


@pytest.mark.parametrize(
    ("text", "most"),
    [
        ("12 7 43 88 0 5 61 9 20 33 " * 40, 40),
        ("１２ 7 ４３ 88 / 0 5 ６１ 9 20 33 " * 40, 40),
        (" ".join(f"{number}.25" for number in range(20, 90)), 10),
        ("030 12345678, " * 40, 0),
        ("(030) 12345678, " * 40, 40),
        ("+4930123456789012345 " * 20, 0),
        ("+42412345678 " * 20, 0),
        ("ATOM 00 67 -12.345 0.057 011 69\n" * 20, 20),
    ],
)
def test_of_a_table_hardly_anything_is_parsed(text: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def parse(number: str, region: str, *, keep_raw_input: bool) -> object:
        parsed.append(number)
        return phonenumbers.parse(number, region, keep_raw_input=keep_raw_input)

    monkeypatch.setattr("phonenumbers.phonenumbermatcher.parse", parse)
    PhoneFinder(REGIONS).find(text)
    assert len(parsed) <= most, parsed
