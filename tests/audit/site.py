"""A policy with an audit log beside it, and a log as a worker would have written it."""

import base64
from pathlib import Path

from headrace.ext_proc.audit.chain import Chain, Pending
from headrace.ext_proc.audit.opening import policy_terms
from headrace.ext_proc.audit.vault import tenant_of
from tests.audit.logs import Ticking, decision

POLICY = """version: 1
models:
  - {name: llama-3.3-70b, price: {input: 0.60, output: 0.80}}
filters:
  - pii: {entities: [EMAIL_ADDRESS], model: none, request: report}
audit: {directory: audit, bodies: encrypted, master_key: {file: master.key}}
"""
CHAT = b'{"model":"llama-3.3-70b","messages":[{"role":"user","content":"Write to ada@example.com"}]}'
USAGE = {"input_tokens": 40, "output_tokens": 5, "cached_tokens": 0, "reasoning_tokens": 0}


def policy_in(folder: Path, text: str = POLICY) -> Path:
    (folder / "master.key").write_text(base64.b64encode(b"k" * 32).decode() + "\n")
    path = folder / "policy.yaml"
    path.write_text(text)
    return path


def recorded_in(folder: Path, text: str = POLICY, teams: tuple[str, ...] = ("blue", "red"), records: int = 4) -> Path:
    """A policy whose log has so many decisions, with their settlements, of the teams in turn. The last one was refused."""
    policy = policy_in(folder, text)
    terms, clock = policy_terms(policy), Ticking()
    chain = Chain(terms, "0", clock.now_ms)
    for number in range(records):
        refused = {"outcome": "refused", "reason": "pii.blocked"} if number == records - 1 else {}
        asked = {"method": "POST", "path": "/v1/chat/completions", "model": "llama-3.3-70b"}
        members = decision(number, team=teams[number % len(teams)], **asked, **refused)
        parts = {"request": CHAT} if terms.master is not None else {}
        chain.write([Pending(clock.now_ms(), "decision", members, tenant_of(members, terms.settings.keys_per), parts)])
        said = {**members["principal"], "exchange": members["exchange"], "outcome": "settled", "usage": USAGE, "usd": "0.000028"}
        chain.write([Pending(clock.now_ms(), "settlement", said)])
    chain.close()
    return policy
