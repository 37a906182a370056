"""A request through a policy that has an identity list and nothing else."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headrace.ext_proc.core.events import Answer, Proceed, Refuse, RequestHeaders
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.principal import PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Link
from headrace.ext_proc.core.verdict import Continue, Reply, Verdict
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.key_files import write_keys
from headrace.ext_proc.engine.keys import KeyRecord, digest
from headrace.ext_proc.engine.policy.compile import Policy
from tests.filters.compiled import NOON_MS, compiled
from tests.kit import body, last

NOON = datetime.fromtimestamp(NOON_MS / 1000, UTC)
PEPPER = "0123456789abcdef0123456789abcdef"
SECRET = "hr-a-secret-that-nobody-else-has"
KEYS_ONLY = "identity: [{api_keys: {file: keys.yaml}}]"


def record(secret: str = SECRET, **members: Any) -> KeyRecord:
    given = {"id": "key_1", "team": "research", "user": "ada"} | members
    return KeyRecord(digest=digest(PEPPER.encode(), secret), **given)


def keep(directory: Path, *keys: KeyRecord) -> None:
    """Writes the key file and its pepper."""
    (directory / "headrace.pepper").write_text(PEPPER + "\n")
    write_keys(directory / "keys.yaml", keys)


def policy_of(directory: Path, identity: str = KEYS_ONLY, *, settings: str = "{}", models: str = "", **ports: Any) -> Policy:
    return compiled(directory, f"version: 1\n{models}\n{identity}\nfilters: [{{identity: {settings}}}]\n", **ports)


def link(policy: Policy) -> Link:
    found = policy.chain[0].choose(Request("e1", Headers(), None))
    assert found is not None
    return found


async def heard(policy: Policy, *pairs: tuple[str, str]) -> Verdict:
    """What the filter says of request headers."""
    request = Request("e1", Headers(pairs), None)
    session = link(policy).filter.open(request)
    assert session is not None
    return await session.on_headers(request)


async def principal(policy: Policy, *pairs: tuple[str, str]) -> Principal:
    verdict = await heard(policy, *pairs)
    assert isinstance(verdict, Continue), verdict
    found = verdict.facts[PRINCIPAL]
    assert isinstance(found, Principal)
    return found


async def reason(policy: Policy, *pairs: tuple[str, str]) -> str:
    """Why the caller is refused; nothing shown may be repeated in the refusal."""
    verdict = await heard(policy, *pairs)
    assert isinstance(verdict, Reply), verdict
    assert verdict.status == 401
    for _, value in pairs:
        shown = value.split(" ")[-1]
        assert len(shown) < 3 or shown not in f"{verdict.message}{verdict.note}{verdict.headers}"
    return verdict.reason


@dataclass
class Caller:
    """Sends whole requests."""

    policy: Policy
    pairs: tuple[tuple[str, str], ...]
    removed: set[str] = field(default_factory=set)
    """Headers that the gateway was told to remove."""

    async def asks(self, model: Any, path: str = "/v1/chat/completions") -> Answer:
        """The answer that decides: to the headers, or else to the body."""
        exchange = Exchange("e1", self.policy, shield)
        headers = RequestHeaders(Headers([(":method", "POST"), (":path", path), *self.pairs]), False)
        document = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
        answer: Answer = Proceed()
        for event in (headers, body(document)):
            answer = await last(exchange, event)
            if not isinstance(answer, Proceed):
                break
            self.removed |= set(answer.edits.remove_headers)
        return answer


def bearer(secret: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {secret}")


def refusal(answer: Answer) -> tuple[int, str]:
    assert isinstance(answer, Refuse), answer
    return answer.status, answer.reason


def error(answer: Answer) -> Mapping[str, Any]:
    assert isinstance(answer, Refuse), answer
    document = json.loads(answer.body)["error"]
    assert isinstance(document, dict)
    return document
