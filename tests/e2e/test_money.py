"""What an answer costs by what its provider reports: cached, written, thought, at a tier; and the price's revision in records."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.site import CHAT, MESSAGES, MODEL, Site, chat, lean_chain, patient, running_site
from tests.envoy.stub_upstream import Received, Reply, StubUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

PRICE = {"input": 10, "cached_input": 1, "cache_write": 12, "cache_write_1h": 20, "output": 30, "reasoning": 50}
"""USD per million tokens."""
TIERS = {"batch": 0.5, "priority": 2}
OPENAIS: dict[str, Any] = {
    "prompt_tokens": 100,
    "completion_tokens": 60,
    "prompt_tokens_details": {"cached_tokens": 70},
    "completion_tokens_details": {"reasoning_tokens": 40},
}
ANTHROPICS: dict[str, Any] = {
    "input_tokens": 30,
    "cache_read_input_tokens": 70,
    "cache_creation_input_tokens": 50,
    "cache_creation": {"ephemeral_1h_input_tokens": 20},
    "output_tokens": 60,
}


@dataclass
class Scripted:
    """A site whose only model's provider reports what a test says."""

    site: Site
    provider: StubUpstream

    def reports(self, stream: bool, **members: Any) -> None:
        """members: of the answer; in a stream, of its last event."""
        whole = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "water"}}]} | members

        async def answer(_: Received, reply: Reply) -> None:
            if not stream:
                await reply.whole(json.dumps(whole).encode())
                return
            await reply.begin()
            await reply.send(b'data: {"choices": [{"index": 0, "delta": {"content": "water"}}]}\n\n')
            await reply.send(b"data: " + json.dumps({"choices": [], **members}).encode() + b"\n\n")
            await reply.send(b"data: [DONE]\n\n")
            await reply.end()

        self.provider.answer = answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scripted() -> AsyncIterator[Scripted]:
    pools = [{"upstream": "standard"}]
    priced = {"price": PRICE, "service_tiers": TIERS, "max_output": 256, "pools": pools}
    models = [{"name": MODEL, **priced}, {"name": "claude-x", **priced}]
    async with StubUpstream("standard") as provider:
        filters = patient(lean_chain())
        async with running_site(upstreams={"standard": provider.url}, models=models, filters=filters) as site:
            yield Scripted(site, provider)


async def charged(site: Site, team: str, path: str, body: dict[str, Any], usd: Decimal) -> None:
    """In the counter, in the settlement's record, and both with the revision of the policy's price."""
    caller = await site.caller(team)
    answer = await site.post(caller, body, path)
    assert answer.status_code == 200, answer.text
    record = await site.settlement(answer)
    assert (record["outcome"], Decimal(record["usd"])) == ("settled", usd)
    assert record["price_revision"].startswith("policy ")
    assert await site.ledger(f"team-month:{team}") == usd * 10**9


@pytest.mark.parametrize(("tier", "factor"), [("default", "1"), ("batch", "0.5"), ("priority", "2")])
@pytest.mark.parametrize("stream", [False, True], ids=["json", "sse"])
async def test_cached_and_thought_tokens_and_tiers_have_their_prices(
    scripted: Scripted, stream: bool, tier: str, factor: str
) -> None:
    scripted.reports(stream, usage=OPENAIS, service_tier=tier)
    usd = (30 * 10 + 70 * 1 + 20 * 30 + 40 * 50) * Decimal("1e-6") * Decimal(factor)
    await charged(scripted.site, f"openai-{stream}-{tier}", CHAT, chat(stream=stream, max_tokens=60), usd)


@pytest.mark.parametrize(("tier", "factor"), [("standard", "1"), ("batch", "0.5")])
async def test_what_anthropic_reports_beside_the_prompt_has_its_prices(scripted: Scripted, tier: str, factor: str) -> None:
    scripted.reports(False, usage=ANTHROPICS | {"service_tier": tier})
    usd = (30 * 10 + 70 * 1 + 30 * 12 + 20 * 20 + 60 * 30) * Decimal("1e-6") * Decimal(factor)
    body = {"model": "claude-x", "max_tokens": 60, "messages": [{"role": "user", "content": "hi"}]}
    await charged(scripted.site, f"anthropic-{tier}", MESSAGES, body, usd)
