"""What is dropped before phonenumbers parses it is nothing that phonenumbers would find."""

import random

import pytest
from phonenumbers import Leniency, PhoneNumberMatcher

from headrace.filters.pii.numbering import is_possible

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


@pytest.mark.parametrize("region", REGIONS)
def test_what_is_not_possible_is_never_found(region: str) -> None:
    dropped = 0
    for candidate in candidates(region, 1_500):
        if not is_possible(candidate, region):
            dropped += 1
            found = list(PhoneNumberMatcher(candidate, region, leniency=Leniency.VALID))
            assert not found, candidate
    assert dropped > 300, "the check is worth its cost"


def test_a_number_without_the_prefix_that_its_region_writes_is_not_possible() -> None:
    assert not is_possible("536-90-4399", "FR") and not is_possible("536904399", "DE")
    assert is_possible("0536-904399", "DE") and is_possible("415-555-2671", "US")
