"""Decision records in words."""

from typing import Any

import pytest

from headrace.ext_proc.cli.demo.evidence import changed_members
from headrace.ext_proc.telemetry import phrases

HELD = [
    {"budget": "team-day", "unit": "tokens", "reserved": 80, "remaining": 920},
    {"budget": "app-hour", "unit": "nano_usd", "reserved": 60800, "remaining": 9939200},
]


def step(name: str, outcome: str = "continue", reason: str = "", **more: Any) -> dict[str, Any]:
    return {"filter": name, "phase": "request", "outcome": outcome, "reason": reason, "us": 1.0, **more}


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (step("usage"), "nothing to do"),
        (
            step("identity", reason="identity.api_keys", note={"source": "api_keys", "key": "k1", "team": "mill", "user": "ada"}),
            "api_keys: k1 is team mill, user ada (identity.api_keys)",
        ),
        (step("identity", "reply", "auth.invalid"), "refuses (auth.invalid)"),
        (
            step("pii", note={"action": "replace", "findings": {"EMAIL_ADDRESS": 2}, "paths": ["messages[0].content"]}),
            "replace: 2 EMAIL_ADDRESS in messages[0].content",
        ),
        (step("pii", note={"findings": {"EMAIL_ADDRESS": 1}}), "1 EMAIL_ADDRESS"),
        (
            step(
                "pii",
                note={"action": {"US_SSN": "replace", "URL": "block"}, "findings": {"US_SSN": 2, "URL": 1}, "paths": ["user"]},
            ),
            "2 US_SSN (replace), 1 URL (block) in user",
        ),
        (
            step("budget", reason="budget.reserved", note={"budgets": HELD}),
            "team-day reserves 80 tokens, 920 tokens left; app-hour reserves $0.0000608, $0.0099392 left (budget.reserved)",
        ),
        (
            step("budget", "reply", "budget.exhausted", note={"budget": "team-day", "unit": "tokens", "needed": 9, "remaining": 1}),
            "refuses (budget.exhausted): team-day has 1 token left, 9 tokens would be needed",
        ),
        (
            step(
                "routing",
                reason="routing.prompt_size",
                note={
                    "input_tokens": 9000,
                    "output_cap": 64,
                    "candidates": [
                        {"upstream": "standard", "fits": False, "why": "needs 9064 tokens of 8192"},
                        {"upstream": "high-memory", "fits": True, "why": "holds any number of tokens"},
                    ],
                },
            ),
            "9,000 prompt + 64 answer = 9,064 tokens; standard not: needs 9064 tokens of 8192, "
            "high-memory: holds any number of tokens (routing.prompt_size)",
        ),
        (step("mine", note={"colour": "blue"}), "colour blue"),
        (step("mine", "failed", "mine.failed", error="ValueError"), "failed (mine.failed): ValueError"),
        (step("mine", "would_reply", "mine.no", note={"colour": "blue"}), "would refuse (mine.no): colour blue"),
        (step("identity", "would_reply", "auth.missing", mode="shadow"), "would refuse (auth.missing)"),
        (step("pii", note={"findings": {"US_SSN": 1}}, mode="shadow"), "in shadow: 1 US_SSN"),
        (step("routing", mode="shadow", metadata={"route": "large"}), "in shadow: nothing to do; would go to large"),
    ],
)
def test_a_step_is_told_from_its_record(record: dict[str, Any], words: str) -> None:
    assert phrases.step(record) == words


def test_money_is_what_was_reserved_and_what_it_became() -> None:
    decision = {"outcome": "handed_off", "steps": [step("usage"), step("budget", note={"budgets": HELD})]}
    settlement = {"outcome": "settled", "usage": {"input_tokens": 1016, "output_tokens": 24}, "usd": "0.0000288"}
    assert phrases.money(decision, settlement) == "settled: 1,016 + 24 tokens, $0.0000288; reserved 80 tokens and $0.0000608"
    assert phrases.money(decision, {"outcome": "kept"}) == "kept; reserved 80 tokens and $0.0000608"


def test_a_refused_request_holds_no_reservation() -> None:
    decision = {"outcome": "refused", "steps": [step("budget", note={"budgets": HELD})]}
    assert phrases.reserved(decision) == ()
    assert phrases.reserved(decision | {"outcome": "completed"}) == HELD


def test_changed_members_are_named() -> None:
    assert changed_members(b'{"a": 1, "b": [1], "c": 2}', b'{"a": 1.0, "b": [2], "d": 2}') == ["b", "c", "d"]
