"""The webhook a policy names, its secret read: https://www.standardwebhooks.com"""

import base64
import binascii
from dataclasses import dataclass, field

from headrace.ext_proc.engine.policy.destinations import secret_of
from headrace.ext_proc.engine.registry import Build

PREFIX = "whsec_"
MIN_SECRET, MAX_SECRET = 24, 64
"""Bytes of a secret in base64, as Standard Webhooks has it; one that is no base64 has at least as many characters."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where events are posted, and the key that signs them."""

    url: str
    key: bytes = field(repr=False)


def webhook_of(build: Build) -> Webhook | None:
    """None where the policy names none. Reports a secret that cannot be read or used."""
    named = build.document.alerts.webhook
    where = ("alerts", "webhook", "secret")
    if named is None or (secret := secret_of(named.secret, where, build)) is None:
        return None
    if (key := _key(secret)) is None:
        right = f"{PREFIX} and {MIN_SECRET} to {MAX_SECRET} bytes in base64, or at least {MIN_SECRET} characters"
        build.problem(where, f"must be {right}")
        return None
    return Webhook(named.url, key)


def _key(secret: str) -> bytes | None:
    if not secret.startswith(PREFIX):
        return secret.encode() if len(secret) >= MIN_SECRET else None
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error:
        return None
    return key if MIN_SECRET <= len(key) <= MAX_SECRET else None
