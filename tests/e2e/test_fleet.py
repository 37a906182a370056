"""Two hundred requests at once, through real Envoy and four worker processes, against three budgets of which the tightest holds 23.

On one server, on a cluster of three primaries and three replicas, and while the primary that has the counters dies.
`HEADRACE_LONG=1` has ten runs in a row of each instead of one.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import httpx
import pytest
import pytest_asyncio

from headrace.ext_proc.cli.simulate import chat as upstream
from headrace.ext_proc.stores.embedded import EmbeddedStore
from headrace.ext_proc.stores.wire import ledger_key
from tests.e2e.fleet import CAP, Fleet, fleet, policy_of
from tests.e2e.site import until as until_async
from tests.stores.servers import ClusterServers, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

AT_ONCE, WORTH = 200, 23
RUNS = range(10 if os.environ.get("HEADRACE_LONG") else 1)
PROMPT = upstream.read(b'{"model": "m", "messages": [{"role": "user", "content": "hi"}]}').prompt_tokens
COST = PROMPT + CAP
NANO_USD = PROMPT * 600 + CAP * 800
POLICY = policy_of(
    [
        {"name": "organisation", "per": ["organisation"], "limit": {"usd": 31 * NANO_USD / 1e9}, "window": "month"},
        {"name": "team", "per": ["team"], "limit": {"tokens": WORTH * COST}, "window": "month"},
        {"name": "user", "per": ["team", "user"], "limit": {"requests": 40}, "window": {"sliding": 3600}},
    ]
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def single() -> AsyncIterator[Fleet]:
    store = EmbeddedStore()
    try:
        async with fleet(await asyncio.to_thread(store.start), POLICY) as running:
            yield running
    finally:
        await asyncio.to_thread(store.stop)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    servers = ClusterServers(Path(tmp_path_factory.mktemp("cluster")))
    try:
        servers.start()
        yield servers
    finally:
        servers.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def clustered(cluster: ClusterServers) -> AsyncIterator[Fleet]:
    """What it writes counts when a replica has it."""
    async with fleet(f"{cluster.url}?replicas=1", POLICY) as running:
        yield running


async def wave(running: Fleet, organisation: str) -> tuple[list[httpx.Response], int]:
    """All at once; who is told that the budget cannot be checked asks again. The last answers, and how often that was told."""
    unavailable = 0

    async def one() -> httpx.Response:
        nonlocal unavailable
        while (answer := await running.chat(organisation)).status_code not in (200, 429):
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "budget.unavailable", answer.text
            unavailable += 1
            await asyncio.sleep(0.1)
        return answer

    return await asyncio.gather(*(one() for _ in range(AT_ONCE))), unavailable


def admitted(answers: Sequence[httpx.Response]) -> list[str]:
    return [answer.headers["x-headrace-exchange"] for answer in answers if answer.status_code == 200]


async def assert_charged(running: Fleet, organisation: str, exchanges: Sequence[str]) -> None:
    """Once each: in every counter, and in the ledger, with what the pool said."""
    records = await running.closed(organisation, exchanges)
    told = [entry.members for entry in records if entry.members["outcome"] != "released"]
    assert Counter(record["exchange"] for record in told) == Counter(exchanges)
    assert {record["outcome"] for record in told} == {"settled"}
    assert {(record["input_tokens"], record["output_tokens"], record["nano_usd"]) for record in told} == {
        (str(PROMPT), str(CAP), str(NANO_USD))
    }
    assert await running.used(organisation) == (WORTH * NANO_USD, WORTH * COST, WORTH)


def assert_refused(answers: Sequence[httpx.Response]) -> None:
    refused = [answer for answer in answers if answer.status_code == 429]
    assert refused
    assert {answer.json()["error"]["code"] for answer in refused} == {"budget.exhausted"}
    assert {"'team'" in answer.json()["error"]["message"] for answer in refused} == {True}, "the tightest is named"


async def exactly_so_many(running: Fleet, organisation: str) -> None:
    before = await running.requests_of_workers()
    through = await admitted_in_the_end(running, organisation, await wave(running, organisation))
    asked = [after - so_far for after, so_far in zip(await running.requests_of_workers(), before, strict=True)]
    assert len(asked) == 4 and min(asked) > 0, "every worker had its part"
    await assert_charged(running, organisation, through)


async def admitted_in_the_end(running: Fleet, organisation: str, first: tuple[list[httpx.Response], int]) -> list[str]:
    """A reservation whose answer was lost holds its place until it is given back: who was refused meanwhile asks again."""
    answers, unavailable = first
    through = admitted(answers)
    assert_refused(answers)
    if unavailable:
        assert len(through) <= WORTH
        await running.closed(organisation, through)
        await nothing_held(running, organisation)
        through += admitted((await wave(running, organisation))[0])
    assert len(through) == WORTH
    return through


@pytest.mark.parametrize("run", RUNS)
async def test_of_two_hundred_at_once_the_tightest_of_three_budgets_admits_twenty_three(single: Fleet, run: int) -> None:
    await exactly_so_many(single, f"single-{run}")


@pytest.mark.parametrize("run", RUNS)
async def test_on_a_cluster_it_admits_as_many(clustered: Fleet, run: int) -> None:
    await exactly_so_many(clustered, f"cluster-{run}")


@pytest.mark.parametrize("run", RUNS)
async def test_while_a_primary_dies_it_admits_no_more_and_afterwards_as_many(
    clustered: Fleet, cluster: ClusterServers, run: int
) -> None:
    organisation = f"failover-{run}"
    key = ledger_key(organisation)
    dying = cluster.owner(key)
    load = asyncio.create_task(wave(clustered, organisation))
    try:
        while not (await clustered.used(organisation))[2]:  # noqa: ASYNC110 – a store tells nobody of its changes
            await asyncio.sleep(0)
        await asyncio.to_thread(dying.kill)
        await asyncio.to_thread(until, lambda: cluster.owner(key) is not dying, "a promoted replica")
        await asyncio.to_thread(dying.start)
        first = await load
    finally:
        load.cancel()
    await assert_charged(clustered, organisation, await admitted_in_the_end(clustered, organisation, first))


async def nothing_held(running: Fleet, organisation: str) -> None:
    """Returns when every lease is closed: what counters hold is what the ledger says."""

    async def agree() -> bool:
        records = [entry.members for entry in await running.ledger(organisation)]
        return (await running.used(organisation))[1] == COST * sum(record["outcome"] != "released" for record in records)

    await until_async(agree, "the counters and the ledger agree")
