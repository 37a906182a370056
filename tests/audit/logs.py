"""Audit logs for the tests: terms without a policy, chains with records in them."""

from pathlib import Path
from typing import Any

from headrace.ext_proc.audit.chain import Chain, Pending
from headrace.ext_proc.audit.masters import LocalMaster
from headrace.ext_proc.audit.terms import Terms
from headrace.ext_proc.engine.policy.auditing import Audit

START_MS = 1_793_534_400_000
"""2026-11-01T12:00:00Z."""
MASTER = LocalMaster(b"m" * 32)
KEY = {"env": "MASTER"}


class Ticking:
    """A clock that goes on by a millisecond each time somebody looks."""

    def __init__(self, ms: int = START_MS) -> None:
        self.ms = ms

    def now_ms(self) -> int:
        self.ms += 1
        return self.ms


def terms_at(directory: Path, **settings: Any) -> Terms:
    """With a master key where bodies are kept."""
    master = MASTER if settings.get("bodies", "none") != "none" else None
    said = Audit.model_validate({"directory": str(directory), **({"master_key": KEY} if master else {}), **settings})
    return Terms(said, directory, None, master.id if master else "", master)


def decision(number: int, *, team: str = "blue", outcome: str = "handed_off", **members: Any) -> dict[str, Any]:
    principal = {"organisation": "acme", "team": team, "user": f"user{number % 3}"}
    return {"exchange": f"hx{number:024x}", "revision": "0123456789ab", "principal": principal, "outcome": outcome, **members}


def pending(number: int, clock: Ticking, **members: Any) -> Pending:
    return Pending(clock.now_ms(), "decision", decision(number, **members))


def written(directory: Path, records: int, *, each: int = 3, close: bool = True, worker: str = "0", **settings: Any) -> Chain:
    """A chain with so many records, in batches of `each`."""
    clock = Ticking()
    chain = Chain(terms_at(directory, **settings), worker, clock.now_ms)
    for first in range(0, records, each):
        chain.write([pending(number, clock) for number in range(first, min(first + each, records))])
    if close:
        chain.close()
    return chain
