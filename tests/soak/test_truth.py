"""Each comparison finds what it is there for: a good case has no loss, and each planted violation has its own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from joserfc.jwk import OKPKey

from tests.soak.answering import unexplained
from tests.soak.asks import Api, Ask, Manner, Tenant
from tests.soak.books import Served
from tests.soak.callers import Callers
from tests.soak.evidence import ALL_LOSSES, Audited, Case
from tests.soak.faults.base import Bound, Window
from tests.soak.faults.rude import RudeUpstream
from tests.soak.heard import Heard, Verdict, judged
from tests.soak.truth import beyond_by_team, compared, losses_of, spent_by_team

EXCHANGE = "hx1"
SIGNER = OKPKey.generate_key("Ed25519")
ASK = Ask(7, Tenant("org0", "team-0-2", "user0"), Api.CHAT, Manner.SDK, "llama-3.3-70b", "say this", "echo", 900, echo=True)
RECORD = {
    "exchange": EXCHANGE,
    "organisation": "org0",
    "team": "team-0-2",
    "outcome": "settled",
    "model": "llama-3.3-70b",
    "input_tokens": "10",
    "output_tokens": "5",
    "nano_usd": "10000",
}
VERDICT = Verdict(ASK, 10.0, 11.0, 200, EXCHANGE, "routing.first_pool", complete=True, left=False, broke="", text="say this")
SERVED = Served("standard", 7, 10.1, 200, "complete", 10, 5)
WINDOW = Window("kill-worker", 9.0, 12.0, Bound.AS_RESERVED | Bound.CUT | Bound.REFUSED | Bound.UNRECORDED)


def audited(**kinds: int) -> Mapping[str, Audited]:
    return {EXCHANGE: Audited(kinds or {"forwarded": 1, "decision": 1, "settlement": 1}, (10, 900))}


GOOD = Case(VERDICT, [SERVED], [RECORD], audited())


def kinds(case: Case) -> set[str]:
    return {loss.kind for loss in losses_of(case)}


def heard(**changes: Any) -> Case:
    return replace(GOOD, verdict=replace(VERDICT, **changes))


def recorded(**changes: str) -> Case:
    return replace(GOOD, records=[RECORD | changes])


def served(**changes: Any) -> Case:
    return replace(GOOD, served=[replace(SERVED, **changes)])


def refused(code: str, status: int, **changes: Any) -> Case:
    """By the gateway, before any upstream had it."""
    told = {"status": status, "code": code, "reason": code, "text": None}
    return replace(GOOD, verdict=replace(VERDICT, **{**told, **changes}), served=[], records=[], audited=audited(decision=1))


def test_a_request_whose_books_agree_has_no_loss() -> None:
    assert kinds(GOOD) == set()
    assert kinds(refused("budget.exhausted", 429)) == set()


PLANTED: Mapping[str, tuple[Case, str]] = {
    "charged again": (replace(GOOD, records=[RECORD, RECORD]), "charged_twice"),
    "not charged": (replace(GOOD, records=[]), "free_of_charge"),
    "released though a model answered": (recorded(outcome="released"), "free_of_charge"),
    "generated for a caller that left": (
        replace(heard(status=0, left=True, complete=False, exchange="", text=None), records=[]),
        "free_of_charge",
    ),
    "a token too many": (recorded(output_tokens="6", nano_usd="10800"), "wrong_charge"),
    "a token too few": (recorded(input_tokens="9", nano_usd="9400"), "wrong_charge"),
    "money that the tokens do not cost": (recorded(nano_usd="10001"), "wrong_charge"),
    "as reserved, for no reason": (recorded(outcome="kept", output_tokens="900", nano_usd="726000"), "wrong_charge"),
    "charged though no upstream had it": (replace(GOOD, served=[]), "wrong_charge"),
    "charged though the pool refused it": (
        replace(served(status=500, outcome="refused"), verdict=replace(VERDICT, status=500)),
        "wrong_charge",
    ),
    "personal data at a pool": (served(leaks=("soak.0000007x1@org0.example.org",)), "personal_data_upstream"),
    "another's data at a caller": (heard(foreign=("10.0.0.9",)), "foreign_data"),
    "a placeholder at a caller": (heard(placeholders=1), "not_restored"),
    "other words than were said": (heard(text="say that"), "not_restored"),
    "fewer words than were said": (heard(text="say"), "not_restored"),
    "an answer nobody can read": (heard(text=None, wrong="no answer"), "not_restored"),
    "a refusal in the other dialect": (refused("budget.exhausted", 429, in_dialect=False), "refusal_form"),
    "a refusal with two reasons": (refused("budget.exhausted", 429, reason="routing.first_pool"), "refusal_form"),
    "a refusal without a code": (refused("", 500, reason=""), "refused_wrongly"),
    "a refusal for no reason": (refused("auth.invalid", 401), "refused_wrongly"),
    "a stranger who is let in": (heard(ask=replace(ASK, manner=Manner.STRANGER)), "admitted_wrongly"),
    "an answer cut off": (heard(complete=False, broke="reset", text="say"), "cut_off"),
    "no answer": (
        replace(heard(status=0, complete=False, broke="no end", text=None, exchange=""), served=[], records=[]),
        "cut_off",
    ),
    "no decision": (replace(GOOD, audited={}), "audit_missing"),
    "no settlement": (replace(GOOD, audited=audited(decision=1)), "audit_missing"),
    "two decisions": (replace(GOOD, audited=audited(decision=2, settlement=1)), "audit_repeated"),
}


@pytest.mark.parametrize(("case", "loss"), PLANTED.values(), ids=PLANTED)
def test_a_planted_violation_is_found(case: Case, loss: str) -> None:
    assert loss in kinds(case)
    assert kinds(case) <= set(ALL_LOSSES)


EXPLAINED: Mapping[str, Case] = {
    "as reserved": recorded(outcome="expired", output_tokens="900", nano_usd="726000"),
    "without its settlement's record": replace(GOOD, audited=audited(decision=1)),
    "cut off": heard(complete=False, broke="reset", text="say"),
    "refused": refused("gateway.unavailable", 500),
    "refused for an answer that makes no sense": refused("response.encoded", 502),
}


def test_a_request_that_the_gateway_did_not_wait_for_may_stand_as_reserved_and_no_otherwise() -> None:
    given_up = refused("gateway.unavailable", 504)
    kept = RECORD | {"outcome": "kept", "output_tokens": "900", "nano_usd": "726000"}
    assert "wrong_charge" not in kinds(replace(given_up, records=[kept], audited=GOOD.audited))
    assert "wrong_charge" in kinds(replace(given_up, records=[RECORD], audited=GOOD.audited))


@pytest.mark.parametrize("case", EXPLAINED.values(), ids=EXPLAINED)
def test_what_a_fault_says_it_may_cost_is_no_loss_in_its_window(case: Case) -> None:
    assert kinds(replace(case, windows=[WINDOW])) == set()
    assert not unexplained(replace(case, windows=[WINDOW]))
    late = replace(WINDOW, began=14.0, ended=15.0)
    assert kinds(replace(case, windows=[late])) or unexplained(replace(case, windows=[late]))


@pytest.mark.parametrize("what", ["charged again", "not charged", "a token too few", "personal data at a pool", "two decisions"])
def test_no_fault_explains_what_never_may_be(what: str) -> None:
    case, loss = PLANTED[what]
    assert loss in kinds(replace(case, windows=[WINDOW]))


@pytest.mark.parametrize(
    ("used", "ledger", "limit", "found"),
    [(5, 5, 5, set()), (6, 5, 9, {"books_differ"}), (6, 6, 5, {"over_budget"})],
)
def test_counters_are_what_the_ledger_adds_up_to_and_within_the_limit(used: int, ledger: int, limit: int, found: set[str]) -> None:
    assert {loss.kind for loss in compared("a team", used, ledger, limit)} == found


def test_what_a_team_spent_is_the_sum_of_its_charges() -> None:
    records = {7: [RECORD], 8: [RECORD, RECORD | {"outcome": "released"}]}
    assert spent_by_team(records) == {("org0", "team-0-2"): 20_000}
    assert not any(beyond_by_team([GOOD]).values())
    assert beyond_by_team([recorded(input_tokens="12")]) == {("org0", "team-0-2"): 1400}


SAID = "mail soak.0000007x1@org0.example.org"


def answered(content: str, **changes: Any) -> Verdict:
    body = bytearray(b'{"choices": [{"message": {"content": "%b"}}]}' % content.encode())
    return judged(Heard(replace(ASK, said=SAID), 1.0, 2.0, 200, {}, body, complete=True, **changes))


def test_an_answer_is_read_for_its_words_and_for_whose_data_is_in_them() -> None:
    assert (answered(SAID).text, answered(SAID).foreign) == (SAID, ())
    assert answered("of 10.0.0.9, 4000 0000 0980 0017 and soak.0000007x1@org0.example.org").foreign == (
        "10.0.0.9",
        "4000 0000 0980 0017",
    )
    cut = judged(
        Heard(replace(ASK, number=3322, seeds=("10.0.12.250",)), 1.0, 2.0, 200, {}, bytearray(b'{"x": "10.0.12.2'), left=True)
    )
    assert cut.foreign == ()
    assert answered("soak.000000\\u0038x1@org0.example.org").foreign == ("soak.0000008x1@org0.example.org",)
    assert answered("<EMAIL_ADDRESS_a1b2c3d4>").placeholders == 1
    assert "KeyError" in answered('"}, "x": {"y": "').wrong or answered("").text == ""


@pytest.mark.parametrize("manner", [Manner.SDK, Manner.SLOW_READER])
async def test_nonsense_that_nobody_reads_on_its_way_is_an_answer_that_broke_off(manner: Manner) -> None:
    asked = replace(ASK, api=Api.EMBEDDINGS, manner=manner, echo=False)
    async with RudeUpstream("gzip bomb") as rude, Callers(f"http://{rude.address.host}:{rude.address.port}", SIGNER) as callers:
        verdict = judged(await callers.ask(asked))
    assert (verdict.status, verdict.complete, verdict.broke[:8], verdict.wrong) == (200, False, "nonsense", "")


def test_a_refusal_is_read_for_its_form() -> None:
    def told(body: bytes, api: Api = Api.CHAT) -> Verdict:
        return judged(Heard(replace(ASK, api=api), 1.0, 2.0, 500, {}, bytearray(body), complete=True))

    openai = b'{"error": {"message": "m", "type": "t", "param": null, "code": "a.b"}}'
    anthropic = b'{"type": "error", "error": {"message": "m", "type": "t", "code": "a.b"}, "request_id": "x"}'
    assert (told(openai).code, told(openai).in_dialect) == ("a.b", True)
    assert told(anthropic, Api.MESSAGES).in_dialect
    assert not told(openai, Api.MESSAGES).in_dialect
    assert not told(b"upstream connect error").in_dialect
    assert not told(b'{"error": "no"}').in_dialect
