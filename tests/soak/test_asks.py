"""What is asked follows from seed and number, and its personal data is known for whose it is."""

import pytest

from tests.soak.asks import Manner, drawn
from tests.soak.malformed import MALFORMED
from tests.soak.seeds import address, card, iban, mail, owners, readable


def test_a_seed_repeats_what_is_asked() -> None:
    assert [drawn(1, number, 0) for number in range(200)] == [drawn(1, number, 0) for number in range(200)]
    assert drawn(1, 5, 0) != drawn(2, 5, 0)


def test_every_manner_is_drawn_and_no_value_belongs_to_another() -> None:
    asks = [drawn(1, number, 0) for number in range(1500)]
    assert {ask.manner for ask in asks} == set(Manner)
    assert {ask.malformed for ask in asks} == set(MALFORMED)
    for ask in asks:
        assert {number for number, _ in owners(ask.said)} == {ask.number}


@pytest.mark.parametrize("number", [1, 4711, 999_999])
def test_a_value_says_whose_it_is(number: int) -> None:
    made = [mail(number, 2, "org1"), card(number, 3), iban(number, 1), address(number)]
    assert list(owners(" and ".join(made))) == [(number, value) for value in made]


def test_personal_data_is_seen_through_escapes() -> None:
    assert list(owners(readable(b'{"a": "10.0\\u002e0.5"}'))) == [(5, "10.0.0.5")]
    assert list(owners("0.4980392156862745 and 310.0.0.5")) == []
