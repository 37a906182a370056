"""Whether the audit log has every decision and every settlement, once."""

from tests.soak.asks import Manner
from tests.soak.evidence import Case, Losses
from tests.soak.faults.base import Bound

DECIDED = ("decision", "forwarded")


def recorded_wrongly(case: Case) -> Losses:
    if case.verdict.ask.manner is Manner.OTHER_PATH:
        return
    if _undecided(case):
        return
    exchange = case.verdict.exchange
    if exchange and not _decided(case, exchange):
        yield case.loss("audit_missing", "its caller was answered, and no decision is recorded")
    if case.served and not any(_decided(case, exchange) for exchange in case.audited):
        yield case.loss("audit_missing", "an upstream had it, and no decision is recorded")
    for record in case.records:
        if not _decided(case, record["exchange"]) and not _lapsed(case):
            yield case.loss("audit_missing", f"{record['outcome']} in the ledger, and no decision is recorded")
        elif _decided(case, record["exchange"]) and _lacks_settlement(case, record["exchange"], record["outcome"]):
            yield case.loss("audit_missing", f"no settlement is recorded of what is {record['outcome']}")
    for exchange, audited in case.audited.items():
        if twice := [kind for kind, times in audited.kinds.items() if times > 1]:
            yield case.loss("audit_repeated", f"{twice} of {exchange}")


def _undecided(case: Case) -> bool:
    """It was refused while nothing could be recorded, cost nothing, and went nowhere."""
    refused = case.verdict.status >= 400 or case.verdict.left or bool(case.verdict.broke)
    return Bound.UNDECIDED in case.bound and refused and not case.served and not case.charges


def _lapsed(case: Case) -> bool:
    """Its worker was killed after it had reserved and before it had recorded: it went nowhere."""
    return Bound.UNRECORDED in case.bound and not case.served and not case.verdict.exchange


def _decided(case: Case, exchange: str) -> bool:
    audited = case.audited.get(exchange)
    return audited is not None and any(kind in audited.kinds for kind in DECIDED)


def _lacks_settlement(case: Case, exchange: str, outcome: str) -> bool:
    """What lapses is settled by nobody."""
    return outcome != "expired" and "settlement" not in case.audited[exchange].kinds and Bound.UNRECORDED not in case.bound
