"""The caller's trace context reaches the settlement, and nothing that is no trace context does."""

import pytest

from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.traceparent import traceparent_of

GOOD = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_valid_header_is_taken_as_it_is() -> None:
    assert traceparent_of(Headers([("traceparent", GOOD)])) == GOOD


@pytest.mark.parametrize(
    "value",
    [
        "",
        GOOD.upper(),
        GOOD + "-more",
        " " + GOOD,
        GOOD + "\n",
        "ff" + GOOD[2:],
        f"00-{'0' * 32}-b7ad6b7169203331-01",
        f"00-0af7651916cd43dd8448eb211c80319c-{'0' * 16}-01",
        "00-" + "a" * 100_000,
    ],
)
def test_anything_else_is_left_out(value: str) -> None:
    assert traceparent_of(Headers([("traceparent", value)])) is None


def test_a_header_given_twice_names_no_parent() -> None:
    assert traceparent_of(Headers([("traceparent", GOOD), ("traceparent", GOOD)])) is None


def test_without_the_header_there_is_none() -> None:
    assert traceparent_of(Headers([])) is None
