"""From records to numbers."""

from headrace.ext_proc.telemetry.counting import Metrics
from tests.telemetry.records import USAGE, FixedClock, decision, settled_on_the_stream, settlement


def metrics() -> Metrics:
    return Metrics(lambda name: name == "llama", FixedClock())


def values(counted: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Label values → number, of one sample name; buckets left out."""
    return {tuple(value for _, value in sample.labels): sample.value for sample in counted.samples() if sample.name == name}


def test_a_decision_counts_the_request_its_verdicts_and_the_time_added() -> None:
    counted = metrics()
    counted.observe(decision())
    counted.observe(decision(outcome="refused", reason="model.not_allowed", endpoint=None))
    assert values(counted, "headrace_requests_total") == {
        ("chat", "handed_off", ""): 1,
        ("other", "refused", "model.not_allowed"): 1,
    }
    assert values(counted, "headrace_verdicts_total") == {("routing", "continue", "routing.first_pool"): 2}
    assert values(counted, "headrace_added_duration_seconds_sum")["chat",] == 340e-6
    assert values(counted, "headrace_filter_duration_seconds_count") == {("routing", "request"): 2}


def test_personal_data_is_counted_by_entity_and_undeclared_text_by_request() -> None:
    counted = metrics()
    note = {"findings": {"EMAIL_ADDRESS": 2, "URL": 1}, "undeclared": ["x.a", "x.b"]}
    step = {"filter": "pii", "phase": "request", "outcome": "continue", "reason": "", "us": 5}
    for each in ({"note": note}, {"note": {"unread": {"image_url.url": 1}}}, {}):
        counted.observe(decision(steps=[{**step, **each}]))
    assert values(counted, "headrace_pii_findings_total") == {("EMAIL_ADDRESS",): 2, ("URL",): 1}
    assert values(counted, "headrace_pii_undeclared_total") == {("chat",): 1}


def test_a_settlement_counts_tokens_money_and_the_call() -> None:
    counted = metrics()
    counted.observe(settlement())
    assert values(counted, "headrace_tokens_total") == {
        ("llama", "input"): 100,
        ("llama", "output"): 20,
        ("llama", "cached"): 40,
        ("llama", "reasoning"): 5,
    }
    assert values(counted, "headrace_spend_usd_total") == {("llama",): 0.000076}
    assert values(counted, "headrace_settlements_total") == {("settled",): 1}
    assert values(counted, "gen_ai_client_operation_duration_seconds_sum") == {("chat", "openai", "llama", ""): 2.5}
    assert values(counted, "gen_ai_client_operation_time_to_first_chunk_seconds_sum") == {("chat", "openai", "llama"): 0.3}
    assert values(counted, "gen_ai_client_token_usage_sum") == {
        ("chat", "openai", "llama", "input"): 100,
        ("chat", "openai", "llama", "output"): 20,
    }


def test_an_answer_that_went_through_us_is_counted_once() -> None:
    counted = metrics()
    told = {"model": "llama"}
    counted.observe(settled_on_the_stream())
    counted.observe(decision(outcome="completed", status=200, usage=USAGE, metadata=told, reserved=USAGE))
    assert values(counted, "headrace_tokens_total")["llama", "input"] == 100
    assert values(counted, "gen_ai_client_operation_duration_seconds_count") == {("chat", "openai", "llama", ""): 1}


def test_models_that_are_not_in_the_catalogue_share_a_label() -> None:
    counted = metrics()
    for number in range(3):
        counted.observe(settlement(model=f"made-up-{number}"))
        counted.observe(decision(outcome="completed", usage=USAGE, metadata={}, model=f"made-up-{number}"))
    assert values(counted, "headrace_tokens_total")["other", "input"] == 600
    assert {model for model, _ in values(counted, "headrace_tokens_total")} == {"other"}


def test_a_refused_request_is_no_call() -> None:
    counted = metrics()
    counted.observe(decision(outcome="refused", reason="budget.exhausted"))
    assert values(counted, "gen_ai_client_operation_duration_seconds_count") == {}


def test_a_json_answer_has_no_first_chunk() -> None:
    counted = metrics()
    counted.observe(settlement(stream=0.0))
    assert values(counted, "gen_ai_client_operation_time_to_first_chunk_seconds_count") == {}


def test_a_dropped_settlement_is_counted_as_such() -> None:
    counted = metrics()
    counted.observe(settlement(outcome="dropped", usage=None, usd=None))
    assert values(counted, "headrace_effects_dropped_total") == {(): 1}
    assert values(counted, "headrace_settlements_total") == {("dropped",): 1}


def test_one_revision_is_in_force_at_a_time() -> None:
    counted = metrics()
    counted.policy("a" * 12, ["pii"])
    counted.policy("b" * 12, ["pii"])
    assert values(counted, "headrace_policy_info") == {("b" * 12,): 1}


def test_a_filter_that_has_not_failed_is_counted_with_none() -> None:
    counted = metrics()
    counted.policy("a" * 12, ["pii"])
    assert values(counted, "headrace_verdicts_total") == {("pii", "failed", ""): 0, ("pii", "failed", "pii.failed"): 0}
    counted.observe(decision(steps=[{"filter": "pii", "phase": "request", "outcome": "failed", "reason": "pii.failed", "us": 1}]))
    counted.policy("b" * 12, ["pii"])
    assert values(counted, "headrace_verdicts_total")["pii", "failed", "pii.failed"] == 1


def test_a_failover_is_counted_once_by_who_failed_and_who_came_last() -> None:
    counted = metrics()
    elsewhere = {"route": "large", "failed": ["standard", "spare"]}
    counted.observe(settlement(**elsewhere))
    counted.observe(settled_on_the_stream(**elsewhere))
    counted.observe(decision(outcome="completed", status=200, **elsewhere))
    counted.observe(decision())
    counted.observe(settlement())
    assert values(counted, "headrace_failovers_total") == {("standard", "large"): 2, ("spare", "large"): 2}
