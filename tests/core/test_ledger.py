"""The ledger's values refuse what the store could not count exactly."""

import pytest

from headrace.ext_proc.core.ledger import AMOUNT_MAX, Charge, Fixed, Sliding, bounded

DAY = Fixed(0, 86_400_000)


@pytest.mark.parametrize("amount", [-1, AMOUNT_MAX + 1])
def test_an_amount_that_is_not_exact_in_the_store_is_refused(amount: int) -> None:
    with pytest.raises(ValueError, match=r"amount: .* is not in 0\.\."):
        Charge("team", "tokens", 10, amount, DAY)
    with pytest.raises(ValueError, match=r"limit: .* is not in 0\.\."):
        Charge("team", "tokens", amount, 10, DAY)


def test_the_largest_exact_amount_is_taken() -> None:
    assert Charge("team", "nano_usd", AMOUNT_MAX, AMOUNT_MAX, DAY).amount == AMOUNT_MAX
    assert bounded("zero", 0) == 0


@pytest.mark.parametrize("length_ms", [0, -5])
def test_a_sliding_window_without_length_is_refused(length_ms: int) -> None:
    with pytest.raises(ValueError, match="length_ms"):
        Sliding(length_ms)
