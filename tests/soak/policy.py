"""The policy of a soak: the whole chain, budgets that run out, and what changes at a reload."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

MODEL, CLAUDE, EMBEDDER, BULK = "llama-3.3-70b", "claude-opus-4", "text-embedding-3-small", "bulk"
MAX_OUTPUT = 64
"""Tokens of answer that a request without a cap reserves."""
TEAM_USD = 0.1
"""Of one team in one month: some 140,000 tokens. Teams are new in every round, and most spend theirs before its end."""
LEASE_S = 60
"""The shortest there is, and longer than any answer of the run takes; what a fault leaves open lapses within a quiet point."""
PATIENT_MS = 4000
"""For filters: what is admitted shall not depend on how busy the machine is."""
ENTITIES = ("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS")
COUNTED, RESERVED = "counted", "reserved"
"""Teams whose names begin so have their own rule for streams that are hung up."""
PRICES: tuple[Mapping[str, float], ...] = ({"input": 0.6, "output": 0.8}, {"input": 0.7, "output": 1.1})
"""In force by turns. USD per million tokens."""
BULK_PRICE = {"input": 0.001, "output": 0.001}
"""Of the model for long prompts, so that one of them does not take a team's whole budget."""
AUDIENCE = "soak"


def policy_of(upstreams: Mapping[str, str], audit: Path, variant: int = 0) -> dict[str, Any]:
    """variant: which of PRICES is in force."""
    exact = {"tokenizer": "o200k_base", "template": "openai"}
    pools = [{"upstream": "standard", "max_tokens": 4096}, {"upstream": "large"}]
    each = {"price": dict(PRICES[variant]), "max_output": MAX_OUTPUT, "pools": pools, **exact}
    return {
        "version": 1,
        "upstreams": {name: {"url": url} for name, url in upstreams.items()},
        "models": [
            {"name": MODEL, **each},
            {"name": CLAUDE, **each},
            {"name": EMBEDDER, **each, "max_output": 1},
            {"name": BULK, **each, "price": BULK_PRICE},
        ],
        "identity": [{"jwt": _tokens()}],
        "budgets": _budgets(),
        "filters": _chain(),
        "overrides": [
            {"when": {"team": f"{COUNTED}-*"}, "set": {"usage": {"on_hang_up": "count"}}},
            {"when": {"team": f"{RESERVED}-*"}, "set": {"usage": {"on_hang_up": "reserved"}}},
        ],
        "audit": {"directory": str(audit), "wait_ms": PATIENT_MS},
    }


def _tokens() -> dict[str, Any]:
    """Each request has a token of its own, whose id is the request's number: so the ledger and the audit log have it."""
    claims = {"organisation": "org", "team": "team", "user": "sub", "key": "jti"}
    return {"jwks": "jwks.json", "audience": AUDIENCE, "algorithms": ["Ed25519"], "claims": claims}


def _budgets() -> list[dict[str, Any]]:
    return [
        {"name": "team", "per": ["team"], "limit": {"usd": TEAM_USD}, "window": "month"},
        {"name": "all", "per": ["organisation"], "limit": {"tokens": 10**12}, "window": "month"},
        {"name": "pace", "per": ["team"], "limit": {"requests": 10**9}, "window": {"sliding": 60}},
        {"name": "at-once", "per": ["organisation"], "limit": {"concurrency": 10**6}},
    ]


def _chain() -> list[dict[str, Any]]:
    pii = {"entities": list(ENTITIES), "model": "none", "request": "replace", "restore": True, "key_file": "pii.key"}
    return [
        {"identity": {"timeout_ms": PATIENT_MS}},
        {"pii": {**pii, "timeout_ms": PATIENT_MS}},
        {"budget": {"lease_seconds": LEASE_S, "timeout_ms": PATIENT_MS}},
        {"routing": {"timeout_ms": PATIENT_MS}},
        {"usage": {"timeout_ms": PATIENT_MS}},
    ]
