"""What simulated workers told their store in memory, told to a real server: its answers and its ledger are the same."""

import asyncio
import os
from typing import Any

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.patience import patient_store
from tests.simulation.store import StoreServer
from tests.simulation.world import World

SEEDS = range(1, 400 if os.environ.get("HEADRACE_LONG") else 9)
COMPARED = ("reserve", "extend", "settle_many")
ORGANISATIONS = ("org0", "org1", "org2")


def test_a_real_server_answers_as_the_simulated_one() -> None:
    told = {seed: _simulated(seed) for seed in SEEDS}
    assert sum(len(server.commands) for server in told.values()) > 20 * len(told)
    with EmbeddedStore() as url:
        asyncio.run(_compare(url, told))


def _simulated(seed: int) -> StoreServer:
    world = World(seed)
    assert world.run().violation == ""
    return world.server


async def _compare(url: str, told: dict[int, StoreServer]) -> None:
    real = patient_store(url)
    for seed, server in told.items():
        for name, (organisation, *args), options, answer in server.commands:
            if name in COMPARED:
                given = await _answer(real, name, f"{seed}-{organisation}", args, options)
                assert given == answer, f"seed {seed}: {name} {organisation} {args} {options}"
        for organisation in ORGANISATIONS:
            assert await _ledger(real, f"{seed}-{organisation}") == await _ledger(server.memory, organisation)
    await real.close()


async def _answer(store: Store, name: str, organisation: str, args: list[Any], options: dict[str, Any]) -> Any:
    """What the store answers, or why it refuses to."""
    try:
        return await getattr(store, name)(organisation, *args, **options)
    except ValueError as error:
        return str(error)


async def _ledger(store: Store, organisation: str) -> list[dict[str, str]]:
    """Records without their ids, which the store's own clock gives, and in no order: one clock may lag behind another."""
    entries = await store.entries(organisation, limit=10_000)
    return sorted((dict(entry.members) for entry in entries), key=lambda members: sorted(members.items()))
