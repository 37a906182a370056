"""What becomes of a lease, by the gateway's account of how the request ended."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from headrace.ext_proc.core.effects import Release, Settle
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.settlement import Finished, costs_nothing, settlement
from headrace.ext_proc.core.stream_sizes import SEEN, StreamSizes
from headrace.ext_proc.core.terms import Terms, written
from headrace.ext_proc.core.usage import Usage

TERMS = Terms(1, "acme", None, None, None, None, "m", "m", Endpoint.CHAT, True, (8, 100), Price("0.6", "0.8"), None)
TOLD = {"exchange": "e1", "settle": "access_log", "lease": written(TERMS)}
USAGE = {"prompt_tokens": 3.0, "completion_tokens": 4.0, "cached_tokens": 2.0, "reasoning_tokens": 1.0}


def entry(
    *,
    metadata: Mapping[str, Any] = TOLD,
    usage: Mapping[str, Any] = USAGE,
    status: int = 200,
    reached_upstream: bool = True,
    answer_bytes: int = 0,
) -> Finished:
    return Finished(metadata, usage, status, reached_upstream, duration_ms=12.5, start_ms=1000, answer_bytes=answer_bytes)


def told_of(**changes: Any) -> Mapping[str, Any]:
    """What the gateway was told, with other terms."""
    return {**TOLD, "lease": written(msgspec.structs.replace(TERMS, **changes))}


def test_reported_usage_is_settled_with_the_price_told_at_admission() -> None:
    (effect,) = settlement(entry())
    assert isinstance(effect, Settle)
    assert (effect.organisation, effect.lease) == ("acme", "e1")
    assert effect.usage == Usage(3, 4, 2, 1)
    assert effect.price == Price("0.6", "0.8")
    assert effect.reserved == Usage(8, 100)


def test_the_record_shows_what_was_told_and_seen_and_nothing_else() -> None:
    told = {**TOLD, "route": "gpu", "secret": "x"}
    (effect,) = settlement(entry(metadata=told))
    assert isinstance(effect, Settle)
    seen = {"status": 200, "duration_ms": 12.5, "start_ms": 1000}
    assert effect.context == {"exchange": "e1", "route": "gpu"} | TERMS.members | seen
    (timed,) = settlement(Finished(told, {}, 200, True, first_byte_ms=3.5))
    assert isinstance(timed, Settle)
    assert timed.context["first_byte_ms"] == 3.5
    (odd,) = settlement(entry(metadata={**TOLD, "route": 7.0}))
    assert isinstance(odd, Settle) and "route" not in odd.context


@pytest.mark.parametrize(
    "told",
    [
        {},
        {**TOLD, "settle": "stream"},
        {name: value for name, value in TOLD.items() if name != "settle"},
        {name: value for name, value in TOLD.items() if name != "exchange"},
        {**TOLD, "exchange": 7.0},
        {**TOLD, "exchange": ""},
        {**TOLD, "lease": "e1"},
    ],
    ids=["not ours", "settled from the stream", "handed over unasked", "no exchange", "no name", "empty name", "no terms"],
)
def test_entries_that_are_nothing_of_ours(told: Mapping[str, Any]) -> None:
    assert settlement(entry(metadata=told)) == ()


def test_usage_without_a_lease_is_only_recorded() -> None:
    (effect,) = settlement(entry(metadata=told_of(reserved=None)))
    assert isinstance(effect, Settle)
    assert (effect.lease, effect.usage, effect.context["exchange"]) == (None, Usage(3, 4, 2, 1), "e1")


@pytest.mark.parametrize(
    ("endpoint", "usage", "expected"),
    [
        ("messages", {"input_tokens": 9.0, "cache_read_input_tokens": 4.0}, None),
        ("messages", {"input_tokens": 9.0, "output_tokens": 2.0}, Usage(9, 2)),
        ("chat", {"prompt_tokens": 9.0, "completion_tokens": -1.0}, None),
        ("embeddings", {"prompt_tokens": 9.0}, Usage(9, 0)),
    ],
)
def test_usage_without_the_answers_part_is_no_sum_unless_there_is_no_answer(
    endpoint: str, usage: Mapping[str, Any], expected: Usage | None
) -> None:
    (effect,) = settlement(entry(metadata=told_of(endpoint=Endpoint(endpoint)), usage=usage))
    assert isinstance(effect, Settle)
    assert effect.usage == expected


@pytest.mark.parametrize("endpoint", [one for one in Endpoint if one.counts])
@pytest.mark.parametrize(
    ("usage", "charged"),
    [
        ({}, Usage(0, 0)),
        ({"input_tokens": 9.0, "output_tokens": 0.0}, Usage(0, 0)),
        ({"input_tokens": 9.0, "output_tokens": 2.0}, Usage(9, 2)),
    ],
)
def test_a_count_costs_nothing_unless_a_model_has_written(endpoint: Endpoint, usage: Mapping[str, Any], charged: Usage) -> None:
    told = told_of(endpoint=endpoint, stream=False)
    (effect,) = settlement(entry(metadata=told, usage=usage))
    assert isinstance(effect, Settle)
    assert effect.usage == charged
    (refused,) = settlement(entry(metadata=told, usage={}, status=404))
    assert isinstance(refused, Release)


ENDINGS = [
    ("answered, usage not reported", 200, True, "kept"),
    ("client hung up before the answer", 0, True, "kept"),
    ("upstream refused", 429, True, "released"),
    ("upstream failed", 503, True, "released"),
    ("never reached an upstream", 503, False, "released"),
    ("client hung up before the upstream", 0, False, "released"),
]


@pytest.mark.parametrize(("status", "reached", "becomes"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS])
def test_without_usage_the_reserved_amount_stands_unless_the_upstream_never_took_the_request(
    status: int, reached: bool, becomes: str
) -> None:
    (effect,) = settlement(entry(usage={}, status=status, reached_upstream=reached))
    if becomes == "released":
        assert isinstance(effect, Release)
        assert effect.lease == "e1"
    else:
        assert isinstance(effect, Settle)
        assert effect.usage is None


def test_usage_counts_whatever_the_status() -> None:
    (effect,) = settlement(entry(status=500, reached_upstream=False))
    assert isinstance(effect, Settle)
    assert effect.usage == Usage(3, 4, 2, 1)


def test_anthropics_flat_keys() -> None:
    caches = {"cache_read_input_tokens": 2, "cache_creation_input_tokens": 10, "cache_creation_1h_input_tokens": 6}
    (effect,) = settlement(entry(usage={"input_tokens": 3, "output_tokens": 4, **caches, "service_tier": "batch"}))
    assert isinstance(effect, Settle)
    assert effect.usage == Usage(15, 4, 2, cache_write_tokens=10, cache_write_1h_tokens=6, service_tier="batch")


@pytest.mark.parametrize(
    ("status", "reached", "free"),
    [(None, True, False), (399, True, False), (400, True, True), (200, False, True), (None, False, True)],
)
def test_what_costs_nothing(status: int | None, reached: bool, free: bool) -> None:
    assert costs_nothing(status, reached_upstream=reached) is free


SIZED = {"sized": True}
SIZES = [
    ("what its size says", 1000, SIZED, 200, Usage(8, 5)),
    ("at most what was reserved", 10**6, SIZED, 200, Usage(8, 100)),
    ("nothing was heard", 0, SIZED, 200, None),
    ("the policy wants what was reserved", 1000, {}, 200, None),
    ("no stream", 1000, SIZED | {"stream": False}, 200, None),
    ("nothing is known of the model", 1000, SIZED | {"model": None}, 200, None),
    ("no answer of the model", 1000, SIZED, 206, None),
]


@pytest.mark.parametrize(("size", "terms", "status", "usage"), [row[1:] for row in SIZES], ids=[row[0] for row in SIZES])
def test_a_stream_without_usage_costs(size: int, terms: Mapping[str, Any], status: int, usage: Usage | None) -> None:
    """After streams of 200 bytes a token."""
    sizes = StreamSizes()
    for _ in range(SEEN):
        settlement(entry(answer_bytes=800), sizes)
    (effect,) = settlement(entry(usage={}, metadata=told_of(**terms), status=status, answer_bytes=size), sizes)
    assert isinstance(effect, Settle)
    assert effect.usage == usage
    assert effect.context.get("answer_sized", False) is (usage is not None)


def test_a_stream_without_a_lease_is_not_sized() -> None:
    sizes = StreamSizes()
    for _ in range(SEEN):
        settlement(entry(answer_bytes=800), sizes)
    (effect,) = settlement(entry(usage={}, metadata=told_of(reserved=None, **SIZED), answer_bytes=800), sizes)
    assert isinstance(effect, Settle)
    assert effect.usage is None
