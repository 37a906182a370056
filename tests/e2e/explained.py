"""Policies and requests under which `headrace explain` is compared with gateways, and how the two are compared."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from headrace.ext_proc.cli.simulate.server import SimulatedPool
from headrace.ext_proc.engine.explaining import explained
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.policy.offline import compiled
from headrace.ext_proc.engine.trial import Asked
from headrace.ext_proc.stores.memory import MemoryStore
from tests.e2e.site import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, RESPONSES, until

EACH = {"tokenizer": "o200k_base", "template": "openai", "max_output": 50, "price": {"input": 1, "output": 2}}
POOLS = [{"upstream": "standard", "max_tokens": 300}, {"upstream": "large", "model": "large-m"}]
MODELS = [
    {"name": "m", "context": 3000, "pools": POOLS, **EACH},
    {"name": "gpt-*", "pools": [{"upstream": "standard"}], **EACH},
    {"name": "unrouted", **EACH},
]
SEVERAL = [
    {"name": "auto", "served_by": [{"model": "m", "suits": "small"}, {"model": "gpt-large", "suits": "large"}]},
    {"name": "old", "sunset": "2020-01-01", "successor": "m", "pools": POOLS, **EACH},
    {"name": "gone", "sunset": "2020-01-01", "pools": POOLS, **EACH},
    {"name": "gpt-large", "pools": [{"upstream": "large"}], **EACH},
    MODELS[0],
]
PII = {"model": "none", "key_file": "pii.key"}
BY_ENTITY = {"default": "replace", "CREDIT_CARD": "block", "PHONE_NUMBER": {"mask": 4}, "IBAN_CODE": "redact", "US_SSN": "hash"}
PLACING = {"default": "report", "CREDIT_CARD": {"route": "large"}, "EMAIL_ADDRESS": {"route": ["standard"]}}


def chain(**settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {name: {**({} if name != "pii" else PII), **settings.get(name, {})}} for name in ("identity", "pii", "budget", "routing")
    ]


def policy(**members: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "models": MODELS,
        "identity": [{"headers": {"team": "x-team", "user": "x-user"}}],
        "budgets": [
            {"name": "day", "per": ["team"], "limit": {"tokens": 10000}, "window": "day"},
            {"name": "money", "per": ["team", "user"], "limit": {"usd": 0.01}, "window": "day"},
        ],
        "filters": chain(),
        "overrides": [
            {"when": {"team": "quiet*"}, "set": {"pii": {"mode": "shadow"}}},
            {"when": {"team": "strict*"}, "set": {"pii": {"request": "block"}, "routing": {"mode": "off"}}},
        ],
    } | members


SHADOW = {"mode": "shadow"}
POLICIES: Mapping[str, dict[str, Any]] = {
    "the usual one": policy(),
    "actions by entity": policy(filters=chain(pii={"request": BY_ENTITY, "unknown": "refuse"}), other_paths="refuse"),
    "placed by findings": policy(filters=chain(pii={"request": PLACING})),
    "in shadow": policy(filters=chain(pii={"request": "block", **SHADOW}, budget=SHADOW, routing=SHADOW), overrides=[]),
    "identity in shadow": policy(budgets=[], overrides=[], filters=[{"identity": SHADOW}, chain()[1], {"routing": {}}]),
    "small budgets": policy(budgets=[{"name": "day", "per": ["team"], "limit": {"tokens": 70}, "window": "day"}]),
    "attempts": policy(filters=chain(routing={"failover": {"attempts": 2}})),
    "several models": policy(models=SEVERAL, filters=[*chain()[:2], {"routing": {}}, {"budget": {}}]),
    "another dialect": policy(),
    "nobody asked": policy(identity=[], budgets=[], overrides=[], filters=[*chain()[1:2], {"routing": {}}]),
    "found before asked": policy(filters=[chain()[1], chain()[0], *chain()[2:]], overrides=[]),
}
OF_UPSTREAMS = {"another dialect": {"large": {"dialect": "anthropic"}}}


def chat(text: str = "hi", **members: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]} | members


MAIL, CARD = "Write to jane.doe@example.com", "Refund 4111 1111 1111 1111"
LONG = "word " * 400
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"to": "jane@example.com"})}}
IMAGE = [{"type": "text", "text": MAIL}, {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]
BODIES: Sequence[Any] = (
    chat(), chat(stream=True), chat(MAIL), chat(CARD), chat(f"{MAIL}. {CARD}"), chat(LONG), chat(LONG * 9),
    chat(max_tokens=290),
    chat("Call +1 212 555 0143, IBAN DE89 3704 0044 0532 0130 00, SSN 536-90-4399"), chat(n=2, max_tokens=400), chat(LONG, n=2),
    chat(model="nope"), chat(model="gpt-4o"), chat(model="unrouted"), chat(model="auto"), chat(model="old"),
    chat(model="gone"),
    chat("Prove step by step why; compare, design. Why? How? What?", model="auto"), chat(model=5), {"messages": []},
    chat(max_tokens=-1), chat(max_tokens="5"), chat(note=MAIL), chat(metadata={"jane@example.com": "x"}),
    chat(temperature=MAIL),
    {"model": "m", "messages": [{"role": "assistant", "tool_calls": [CALL]}]},
    {"model": "m", "messages": [{"role": "user", "content": IMAGE}]},
    chat(LONG, response_format={"type": "json_object"}), chat(LONG, stop="x", seed=1),
    b'{"model": "m", ', b"", b"[]", b'{"model":"m","model":"gpt-4","messages":[]}', b'{"Model":"m","messages":[]}',
    b'{"model":"m","messages":[{"role":"user","content":"\xff"}]}',
    b'{"model":"m","messages":[{"content":"\\ud800 a@example.com"}]}',
)  # fmt: skip
Ask = tuple[str, Mapping[str, str], Any]
"""Path, headers besides the usual caller's, and body."""
REQUESTS: Sequence[Ask] = (
    *((CHAT, {}, body) for body in BODIES),
    *((CHAT, headers, chat(MAIL)) for headers in (
        {"x-team": "quiet"}, {"x-team": "strict"}, {"x-team": "{a}"}, {"x-team": "München"}, {"content-type": "text/plain"},
        {"content-encoding": "gzip"}, {"x-headrace-route": "large"}, {"authorization": "Bearer sk-x"},
        {"authorization": "Bearer sk-x", "x-api-key": "sk-y"},
    )),
    (MESSAGES, {}, chat(MAIL, max_tokens=10)), (MESSAGES, {"x-team": "strict"}, chat(MAIL, max_tokens=10, system=CARD)),
    (RESPONSES, {}, {"model": "m", "input": MAIL}), (EMBEDDINGS, {}, {"model": "m", "input": [MAIL]}),
    (COMPLETIONS, {}, {"model": "m", "prompt": MAIL, "n": 2}), (COMPLETIONS, {}, {"model": "m", "prompt": [1, 2, 3]}),
    ("/v1/files", {}, {"purpose": MAIL}), (f"{CHAT}?a=1", {}, chat(MAIL)), ("/v1//chat/completions", {}, chat(MAIL)),
    ("/openai/deployments/m/chat/completions", {}, chat(MAIL)), ("/openai/deployments/gpt-4/chat/completions", {}, chat(MAIL)),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """As the caller and the upstream see it. body: of the refusal, or what the upstream got."""

    status: int
    route: str
    body: Any
    steps: Sequence[Mapping[str, Any]]


NEVER_THE_SAME = re.compile(r"trial-\d+|hx[0-9a-f]{24}|\d{4}-\d\d-\d\dT[0-9:.Z]+|\d+ (seconds|minutes|hours)")


def unlike(text: str) -> Any:
    """The document without what differs between any two requests."""
    return json.loads(NEVER_THE_SAME.sub("…", text)) if text else text


def said(steps: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """What the filters said of the request; without their times, and how long a window still runs."""
    asked = [step for step in steps if step["phase"] in ("headers", "request")]
    return [{name: step[name] for name in step if name not in ("us", "metadata")} for step in asked]


class Beside:
    """One policy, served and explained."""

    def __init__(self, decisions: Path, pools: Sequence[SimulatedPool], client: httpx.AsyncClient, path: Path) -> None:
        """decisions: the service's log of them. client: of the gateway. path: of the policy."""
        self._decisions, self._pools, self._client = decisions, pools, client
        self._store = MemoryStore()
        found = compiled(path, store=self._store)
        assert isinstance(found, Policy), found
        self._policy = found

    async def enforced(self, path: str, headers: Mapping[str, str], body: bytes) -> Verdict:
        for pool in self._pools:
            pool.books.clear()
        answer = await self._client.post(
            path, content=body, headers=[(name.encode(), value.encode()) for name, value in headers.items()]
        )
        got = [(pool.name, entry) for pool in self._pools for entry in pool.books.entries]
        steps = await self._steps(answer.headers.get("x-headrace-exchange", ""))
        if not got:
            return Verdict(answer.status_code, "", unlike(answer.text), steps)
        [(name, entry)] = got
        return Verdict(200, name, entry.body if entry.body == body else unlike(entry.body.decode()), steps)

    async def _steps(self, exchange: str) -> Sequence[Mapping[str, Any]]:
        """From the decision log; nothing is said of requests that no filter looks at."""
        if not exchange:
            return ()
        found: list[Mapping[str, Any]] = []

        async def logged() -> bool:
            path = self._decisions
            records = (json.loads(line) for line in path.read_text().splitlines()) if path.exists() else ()
            found[:] = [one for one in records if one["kind"] == "decision" and one["exchange"] == exchange]
            return bool(found)

        await until(logged, f"the decision on {exchange}")
        return said(found[0]["steps"])

    async def explained(self, path: str, headers: Mapping[str, str], body: bytes) -> Verdict:
        document = await explained(self._policy, self._store, Asked(body, path=path, headers=list(headers.items())), None)
        steps = said(document["filters"])
        if "refused" in document:
            refused = document["refused"]
            return Verdict(refused["status"], "", unlike(json.dumps(refused["body"])), steps)
        sent = document["sent"]["body"]
        # What is no call of a model, or has no pool, goes to the gateway's own route: the first upstream.
        return Verdict(
            200, document["routing"]["chosen"] or "standard", body if sent == "unchanged" else unlike(json.dumps(sent)), steps
        )


async def differences_of(beside: Beside) -> list[tuple[str, Any, Verdict, Verdict]]:
    found = []
    for number, (path, own, asked) in enumerate(REQUESTS):
        # Counters that nobody has drawn on, as explain's are.
        headers = {"content-type": "application/json", "x-team": "team", "x-user": "ann", **own}
        headers["x-team"] += str(number)
        body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
        enforced = await beside.enforced(path, headers, body)
        told = await beside.explained(path, headers, body)
        if enforced != told:
            found.append((path, asked, enforced, told))
    return found
