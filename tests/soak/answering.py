"""Whether every caller got what is its own, whole or refused in its own words, and no upstream got what is nobody's business."""

from collections.abc import Mapping

from tests.soak.asks import Manner
from tests.soak.evidence import Case, Losses
from tests.soak.faults.base import Bound

UNREAD = "request.timeout"
"""Before the path is known: the dialect is OpenAI's whoever asks."""
WHEN_BROKEN = frozenset(
    {
        "audit.unavailable",
        "budget.failed",
        "budget.unavailable",
        "gateway.unavailable",
        "gateway.unchecked",
        "identity.failed",
        "pii.failed",
        "pii.too_long",
        UNREAD,
        "routing.failed",
        "upstream.timeout",
        "upstream.unavailable",
        "usage.failed",
    }
)
"""Codes of refusals that a fault may cause, or a machine that is too busy."""
NONSENSE = frozenset({"response.encoded", "response.too_large", "response.unreadable"})
"""Codes of what is said in place of an answer that no server should give."""
EXHAUSTED = "budget.exhausted"
EXPECTED: Mapping[Manner, frozenset[str]] = {
    Manner.STRANGER: frozenset({"auth.invalid", "auth.expired"}),
    Manner.WRONG_MODEL: frozenset({"model.not_allowed"}),
    Manner.MALFORMED: frozenset({"body.not_json", "body.not_object", "body.duplicate_key", "body.too_deep", "body.invalid"}),
    Manner.HUGE: frozenset({"body.too_large"}),
}
"""What must be refused, and with which of these codes."""


def answered_wrongly(case: Case) -> Losses:
    for one in case.served:
        if one.leaks:
            yield case.loss("personal_data_upstream", f"{one.leaks} at {one.pool}")
    if case.verdict.foreign:
        yield case.loss("foreign_data", f"{case.verdict.foreign}")
    if case.verdict.placeholders:
        yield case.loss("not_restored", f"{case.verdict.placeholders} placeholders")
    if case.verdict.status >= 400 or case.verdict.code:
        yield from _refused(case)
    elif case.verdict.status:
        yield from _given(case)
    yield from _broken(case)


def _refused(case: Case) -> Losses:
    verdict = case.verdict
    if any(one.status == verdict.status for one in case.served) or not (verdict.complete or verdict.code):
        return  # the pool's own words, or too few of ours
    if not verdict.in_dialect and verdict.code != UNREAD:
        yield case.loss("refusal_form", verdict.wrong or "the other dialect")
    elif verdict.status >= 400 and verdict.reason != verdict.code:
        yield case.loss("refusal_form", f"code {verdict.code!r}, header {verdict.reason!r}")
    elif not (_due(case) or verdict.code in WHEN_BROKEN or (verdict.code in NONSENSE and Bound.REFUSED in case.bound)):
        yield case.loss("refused_wrongly", verdict.code)


def _due(case: Case) -> bool:
    """Whether such a request may be refused so on a quiet day."""
    return case.verdict.code in {*EXPECTED.get(case.verdict.ask.manner, ()), EXHAUSTED}


def unexplained(case: Case) -> str:
    """The code of a refusal that only something broken explains, where nothing was: at best the machine was too busy."""
    code = case.verdict.code
    if code not in WHEN_BROKEN or Bound.REFUSED in case.bound or case.broken_upstream:
        return ""
    return code


def _given(case: Case) -> Losses:
    verdict = case.verdict
    if verdict.ask.manner in EXPECTED:
        yield case.loss("admitted_wrongly", f"it should be one of {sorted(EXPECTED[verdict.ask.manner])}")
    elif verdict.wrong:
        yield case.loss("not_restored", verdict.wrong)
    elif verdict.ask.echo and verdict.text is not None and not _is_said(case, verdict.text):
        yield case.loss("not_restored", f"{verdict.text[-80:]!r} is not {verdict.ask.said[-80:]!r}")


def _is_said(case: Case, text: str) -> bool:
    """An answer that was cut short says the beginning."""
    whole = case.verdict.complete and not case.broken_upstream
    return text == case.verdict.ask.said if whole else case.verdict.ask.said.startswith(text)


def _broken(case: Case) -> Losses:
    verdict = case.verdict
    if verdict.broke and not verdict.left and Bound.CUT not in case.bound and not case.broken_upstream:
        yield case.loss("cut_off", verdict.broke)
