"""Other models than the one asked for, through real Envoy: what the upstream gets, what the caller sees, what is charged."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.site import Site, chat, lean_chain, running_site
from tests.envoy.stub_upstream import Received, Reply, StubUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

HARD = "Prove step by step which plan is better, and compare their trade-offs."
SLOW_S = 0.15


def models() -> list[dict[str, Any]]:
    """`auto` is a small model of the scripted pool or a large one of the sound pool; `both` is in both pools."""
    standard, large = {"upstream": "standard"}, {"upstream": "large"}
    return [
        {"name": "auto", "served_by": [{"model": "tiny", "suits": "small"}, {"model": "big", "suits": "large"}]},
        {"name": "tiny", "price": {"input": 1, "output": 2}, "max_output": 256, "pools": [standard]},
        {"name": "big", "price": {"input": 10, "output": 20}, "max_output": 256, "pools": [large]},
        {"name": "both", "price": {"input": 1, "output": 1}, "max_output": 256, "pools": [standard, large]},
    ]


@dataclass
class Choosing:
    """A site whose pool `standard` is scripted."""

    site: Site
    standard: StubUpstream


@contextlib.asynccontextmanager
async def choosing_site(**routing: Any) -> AsyncIterator[Choosing]:
    async with StubUpstream("standard") as stub:
        found = {next(iter(entry)): entry for entry in lean_chain(routing=routing)}
        filters = [found[name] for name in ("identity", "routing", "budget", "usage")]
        async with running_site(upstreams={"standard": stub.url}, models=models(), filters=filters) as running:
            yield Choosing(running, stub)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def choosing() -> AsyncIterator[Choosing]:
    async with choosing_site(failover={"attempts": 2}) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
async def test_the_model_that_suits_is_asked_named_and_charged(choosing: Choosing, stream: bool) -> None:
    choosing.site.large.books.clear()
    caller = await choosing.site.caller(f"team-hard-{stream}")
    answer = await choosing.site.post(caller, chat(HARD, model="auto", max_tokens=40, stream=stream))
    assert answer.status_code == 200, answer.text
    assert (answer.headers["x-headrace-route"], answer.headers["x-headrace-reason"]) == ("large", "routing.complexity")
    [entry] = choosing.site.large.books.entries
    assert json.loads(entry.body)["model"] == "big"
    assert '"big"' in answer.text and '"auto"' not in answer.text
    record = await choosing.site.settlement(answer)
    assert (record["outcome"], record["asked"], record["model"]) == ("settled", "auto", "big")
    usage = record["usage"]
    charged = (usage["input_tokens"] * 10 + usage["output_tokens"] * 20) * 1000
    assert await choosing.site.ledger(f"team-month:{caller.team}") == charged


async def test_where_it_fails_the_next_model_is_asked_named_and_charged(choosing: Choosing) -> None:
    async def refuse(_: Received, reply: Reply) -> None:
        reply.status = 503
        await reply.whole(b"{}")

    choosing.site.large.books.clear()
    choosing.standard.received.clear()
    choosing.standard.answer = refuse
    caller = await choosing.site.caller("team-fails")
    answer = await choosing.site.post(caller, chat("hi", model="auto", max_tokens=40))
    assert answer.headers["x-headrace-route"] == "large"
    [first], [second] = choosing.standard.received, choosing.site.large.books.entries
    assert [json.loads(first.body)["model"], json.loads(second.body)["model"]] == ["tiny", "big"]
    record = await choosing.site.settlement(answer)
    assert (record["asked"], record["served"], record["failed"]) == ("auto", "big", ["standard"])
    usage = record["usage"]
    assert await choosing.site.ledger("team-month:team-fails") == (usage["input_tokens"] * 10 + usage["output_tokens"] * 20) * 1000


async def test_the_pool_that_begins_to_answer_later_is_left() -> None:
    """As the access log tells it; a request in twenty finds out how quick the other pool is."""

    async def slow(_: Received, reply: Reply) -> None:
        await asyncio.sleep(SLOW_S)
        await reply.begin()
        await reply.send(b'data: {"choices": []}\n\n')
        await reply.end()

    async with choosing_site(prefer=["latency"]) as choosing:
        choosing.standard.answer = slow
        caller = await choosing.site.caller()
        async with asyncio.timeout(60):
            while True:
                answer = await choosing.site.post(caller, chat("hi", model="both", stream=True))
                if answer.headers["x-headrace-reason"] == "routing.latency" and answer.headers["x-headrace-route"] == "large":
                    break
        routes = [(await choosing.site.post(caller, chat("hi", model="both"))).headers["x-headrace-route"] for _ in range(10)]
        assert routes.count("large") >= 8
