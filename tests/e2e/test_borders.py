"""Whom a caller can pretend to be, what it can learn of others, and what of ours the upstream gets to see: nothing."""

import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
import pytest_asyncio

from headrace.ext_proc.cli.simulate.books import Entry
from tests.e2e.site import CHAT, EMBEDDINGS, MESSAGES, MODELS, RESPONSES, WATCHED, Caller, Site, chat, running_site

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

LIMIT = 1000
CLAUDE = {"model": "claude-sonnet", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
CALLS = {
    CHAT: chat(),
    MESSAGES: CLAUDE,
    RESPONSES: {"model": "llama-3.3-70b", "input": "hi"},
    EMBEDDINGS: {"model": "text-embedding-3-small", "input": "hi"},
}
SPOOFED: dict[str, Sequence[tuple[str, str]]] = {
    "plain": [("x-headrace-route", "large")],
    "capitals": [("X-HeadRace-ROUTE", "large")],
    "twice": [("x-headrace-route", "large"), ("x-headrace-route", "large")],
    "listed": [("x-headrace-route", "large, large")],
    "unknown": [("x-headrace-route", "nowhere")],
    "empty": [("x-headrace-route", "")],
    "underscored": [("x_headrace_route", "large")],
    "others": [("X-Headrace-Exchange", "hx1"), ("x-headrace-lease", "hx1"), ("x-headrace-", "1"), ("x-headrace-reason", "mine")],
}
spoofs = pytest.mark.parametrize("spoof", SPOOFED.values(), ids=SPOOFED)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def module_site() -> AsyncIterator[Site]:
    budgets = [{"name": "user-month", "per": ["team", "user"], "limit": {"tokens": LIMIT}, "window": "month"}]
    async with running_site(budgets=budgets) as running:
        yield running


async def send(site: Site, caller: Caller, path: str, body: Any, headers: Sequence[tuple[str, str]]) -> httpx.Response:
    """Headers with several values and odd capitals, which httpx leaves as they are."""
    own = [("authorization", f"Bearer {caller.secret}"), ("content-type", "application/json")]
    return await site.client.post(path, content=json.dumps(body).encode(), headers=[*own, *headers])


def ours_in(entry: Entry, *secrets: str) -> list[str]:
    """What of Headrace's own, or of the caller's credential, the upstream was shown."""
    seen = [f"{name}: {value}" for name, value in entry.headers]
    names = [line for line in seen if "headrace" in line.lower() or line.startswith(("authorization", "x-api-key", "api-key"))]
    everything = "\n".join(seen) + entry.body.decode()
    return names + [secret for secret in secrets if secret in everything]


@spoofs
@pytest.mark.parametrize("path", CALLS)
async def test_a_call_goes_where_the_policy_sends_it(site: Site, path: str, spoof: Sequence[tuple[str, str]]) -> None:
    caller = await site.caller()
    answer = await send(site, caller, path, CALLS[path], spoof)
    assert answer.status_code == 200
    assert answer.headers["x-headrace-route"] == "standard"
    assert answer.headers["x-headrace-exchange"] != "hx1"
    [entry] = site.standard.books.entries
    assert not ours_in(entry, caller.secret, answer.headers["x-headrace-exchange"], caller.user)


@spoofs
@pytest.mark.parametrize("path", [MODELS, "/nowhere/at/all", f"{CHAT}/and/more", "/"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
async def test_other_paths_go_to_the_first_upstream(site: Site, method: str, path: str, spoof: Sequence[tuple[str, str]]) -> None:
    answer = await site.client.request(method, path, headers=list(spoof), content=b"{}" if method != "GET" else None)
    assert "x-headrace-route" not in answer.headers
    [entry] = site.standard.books.entries
    assert entry.path == path
    assert not site.large.books.entries
    assert not ours_in(entry)


@spoofs
@pytest.mark.parametrize("stream", [False, True])
async def test_a_stream_that_is_read_goes_where_the_policy_sends_it(
    site: Site, stream: bool, spoof: Sequence[tuple[str, str]]
) -> None:
    caller = await site.caller(WATCHED)
    answer = await send(site, caller, CHAT, chat(stream=stream), spoof)
    assert answer.headers["x-headrace-route"] == "standard"
    [entry] = site.standard.books.entries
    assert not ours_in(entry, caller.secret, answer.headers["x-headrace-exchange"])


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "api-key"])
async def test_a_credential_ends_at_the_gateway_whichever_header_brings_it(site: Site, name: str) -> None:
    caller = await site.caller()
    value = f"Bearer {caller.secret}" if name == "authorization" else caller.secret
    answer = await site.client.post(CHAT, json=chat(), headers={name: value})
    assert answer.status_code == 200
    assert not ours_in(site.only_received, caller.secret)


async def test_a_credential_ends_at_the_gateway_on_other_paths_too(site: Site) -> None:
    """SDKs send it with every request; the upstream may be somebody else's."""
    caller = await site.caller()
    async with site.openai(caller) as client:
        assert [model.id async for model in client.models.list()]
    assert not ours_in(site.only_received, caller.secret)


async def test_two_different_credentials_are_refused_before_anything_is_charged(site: Site) -> None:
    one, other = await site.caller(), await site.caller()
    answer = await site.post(one, chat(), x_api_key=other.secret)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "auth.invalid"
    assert one.secret not in answer.text
    assert not site.received


@pytest.mark.parametrize("credential", [None, "hr-nobody", "hr-", "null"])
@pytest.mark.parametrize("path", CALLS)
async def test_who_is_nobody_is_refused_in_the_callers_dialect(site: Site, path: str, credential: str | None) -> None:
    headers = {"authorization": f"Bearer {credential}"} if credential else {}
    answer = await site.client.post(path, json=CALLS[path], headers=headers)
    assert answer.status_code == 401
    document = answer.json()
    assert document["error"]["type"] == "authentication_error"
    assert (document.get("type") == "error") == (path == MESSAGES)
    assert not site.received


async def test_a_key_for_some_models_opens_no_other(site: Site) -> None:
    caller = await site.caller(models=("claude-*",))
    assert (await site.post(caller, CLAUDE, MESSAGES)).status_code == 200
    refused = await site.post(caller, chat())
    unknown = await site.post(caller, chat(model="no-such-model"))
    assert (refused.status_code, unknown.status_code) == (403, 403)
    assert refused.json()["error"]["code"] == unknown.json()["error"]["code"] == "model.not_allowed"
    assert len(site.received) == 1


@pytest.mark.parametrize(
    "beside",
    [
        {"fallbacks": [{"model": "claude-sonnet-4-5"}, {"model": "gpt-4o-mini"}]},
        {"fallbacks": "default"},
        {"models": ["gpt-4o-mini"]},
        {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "gpt-4o-mini"}]},
    ],
)
async def test_a_key_for_some_models_has_the_provider_ask_no_other(site: Site, beside: dict[str, Any]) -> None:
    caller = await site.caller(models=("claude-*",))
    refused = await site.post(caller, CLAUDE | beside, MESSAGES)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model.not_allowed")
    assert not site.received
    own = {"fallbacks": [{"model": CLAUDE["model"]}]}
    assert (await site.post(caller, CLAUDE | own, MESSAGES)).status_code == 200


async def test_one_caller_reads_and_draws_on_its_own_budget_alone(site: Site) -> None:
    rich, poor = await site.caller(), await site.caller()
    for _ in range(3):
        await site.post(poor, chat(max_tokens=300), x_simulate="tokens=300")
    assert await site.spent(poor) == 3 * 308
    refused = await site.post(poor, chat(max_tokens=300))
    assert refused.status_code == 429
    assert int(refused.headers["x-ratelimit-remaining-tokens"]) == LIMIT - 3 * 308
    answer = await site.post(rich, chat(max_tokens=1), **claims(poor))
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) == LIMIT - 9
    assert await site.spent(poor) == 3 * 308


def claims(caller: Caller) -> dict[str, str]:
    """Headers that say one were somebody else, as a gateway in front might."""
    return {"x_team": caller.team, "x_user": caller.user, "x_headrace_user": caller.user, "x_headrace_lease": "hx1"}
