"""Each call ends once, with the record that knows most of it."""

import pytest

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.telemetry.calls import counted_usage, finished, operation_of, provider_of
from tests.telemetry.records import NOW_MS, START_MS, USAGE, decision, settled_on_the_stream, settlement


def test_a_call_that_was_handed_off_ends_with_its_settlement() -> None:
    assert finished(decision(), NOW_MS) is None
    finish = finished(settlement(), NOW_MS)
    assert finish is not None
    assert (finish.duration_ms, finish.first_byte_ms, finish.stream, finish.status) == (2_500.0, 300.0, True, 200)
    assert (finish.error, finish.usage, finish.usd) == ("", USAGE, "0.000076")


def test_a_call_whose_answer_went_through_us_ends_with_its_decision() -> None:
    assert finished(settled_on_the_stream(), NOW_MS) is None
    finish = finished(decision(outcome="completed", status=200, usage=USAGE), NOW_MS)
    assert finish is not None
    assert (finish.start_ms, finish.duration_ms, finish.usage, finish.model) == (START_MS, 10_000, USAGE, "llama")


def test_other_paths_are_no_calls() -> None:
    assert finished(decision(endpoint=None, outcome="refused"), NOW_MS) is None
    assert finished(Record("something else"), NOW_MS) is None


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"outcome": "refused", "reason": "budget.exhausted"}, "budget.exhausted"),
        ({"outcome": "aborted"}, "aborted"),
        ({"outcome": "failed"}, "failed"),
        ({"outcome": "cut", "reason": "budget.dry", "status": 200}, "budget.dry"),
        ({"outcome": "completed", "status": 503}, "503"),
        ({"outcome": "completed", "status": 200}, ""),
    ],
)
def test_what_went_wrong_is_one_word(members: dict[str, object], error: str) -> None:
    finish = finished(decision(**members), NOW_MS)
    assert finish is not None
    assert finish.error == error


@pytest.mark.parametrize(("status", "error"), [(200, ""), (404, "404"), (0, "aborted")])
def test_a_settled_call_s_error_is_its_status(status: int, error: str) -> None:
    finish = finished(settlement(status=status), NOW_MS)
    assert finish is not None
    assert finish.error == error


def test_usage_is_counted_once_per_exchange() -> None:
    assert counted_usage(decision(outcome="completed", usage=USAGE, reserved=USAGE)) is None
    assert counted_usage(settled_on_the_stream()) == USAGE
    assert counted_usage(decision(outcome="completed", usage=USAGE)) == USAGE
    assert counted_usage(settlement()) == USAGE
    assert counted_usage(decision()) is None


@pytest.mark.parametrize("endpoint", ["messages.count", "responses.count"])
def test_a_count_has_usage_where_a_model_has_written(endpoint: str) -> None:
    assert counted_usage(settlement(endpoint=endpoint)) == USAGE
    assert counted_usage(settlement(endpoint=endpoint, usage={**USAGE, "output_tokens": 0})) is None


@pytest.mark.parametrize(
    ("endpoint", "operation", "provider"),
    [
        ("chat", "chat", "openai"),
        ("responses", "chat", "openai"),
        ("completions", "text_completion", "openai"),
        ("embeddings", "embeddings", "openai"),
        ("messages", "chat", "anthropic"),
        ("messages.count", "count_tokens", "anthropic"),
        ("responses.count", "count_tokens", "openai"),
    ],
)
def test_operations_have_the_conventions_names(endpoint: str, operation: str, provider: str) -> None:
    assert (operation_of(endpoint), provider_of(endpoint)) == (operation, provider)
