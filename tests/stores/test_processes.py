"""Several processes against one server, and the server's death under load: what is admitted, charged and written down.

`HEADRACE_LONG=1` kills the server a hundred times instead of three.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path
from random import Random

import pytest

from headrace.ext_proc.core.ledger import Admitted, Charge, Closing, Entry, Fixed
from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.stores import open_store
from tests.patience import patient_store
from tests.stores.servers import PLAIN, Server, free_ports

NOW = 1_795_000_000_000
DAY = Fixed(NOW, NOW + 86_400_000)
LEVELS = [Charge(level, "requests", limit, 1, DAY) for level, limit in (("org", 40), ("team", 23), ("user", 31))]
TOKENS = [Charge(level, "tokens", 2**50, 100, DAY) for level in ("org", "team", "user")]
KILLS = 100 if os.environ.get("HEADRACE_LONG") else 3
CALLERS = 8

ASKS = """
import asyncio, sys
from headrace.ext_proc.core.ledger import Admitted
from tests.patience import patient_store
from tests.stores.test_processes import LEVELS, NOW

async def main(url, organisation, worker):
    store = patient_store(url)
    await store.ping()
    print("ready", flush=True)
    sys.stdin.readline()
    calls = [store.reserve(organisation, f"{worker}-{n}", LEVELS, now_ms=NOW, ttl_ms=60_000) for n in range(50)]
    print(sum(isinstance(answer, Admitted) for answer in await asyncio.gather(*calls)))
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_two_hundred_requests_at_once_from_four_processes_ten_times(valkey: str) -> None:
    """Three levels, of which the tightest is worth 23."""
    store = patient_store(valkey)
    for run in range(10 if KILLS == 100 else 2):
        organisation = f"processes-{os.getpid()}-{run}"
        assert await asyncio.to_thread(admitted_by_four, valkey, organisation) == 23
        assert await store.read(organisation, LEVELS, now_ms=NOW) == (23, 23, 23)
    await store.close()


def admitted_by_four(url: str, organisation: str) -> int:
    """All of them connect first, and then ask at once."""
    command = [sys.executable, "-c", ASKS, url, organisation]
    asking = [subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for n in range(4)]
    try:
        for one in asking:
            assert one.stdout is not None and one.stdout.readline() == "ready\n"
        for one in asking:
            assert one.stdin is not None
            one.stdin.write("go\n")
            one.stdin.flush()
        return sum(int(one.communicate(timeout=60)[0]) for one in asking)
    finally:
        for one in asking:
            one.kill()
            one.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    options = [*PLAIN, "--appendfsync", "always"]
    server = Server(tmp_path / "valkey", free_ports(1)[0], *options)
    server.start()
    yield server
    server.kill()


async def test_a_server_that_is_killed_under_load_charges_nothing_twice_and_forgets_nothing_it_confirmed(server: Server) -> None:
    """With `appendfsync always` what was answered survives: the stated bound of what is lost is nothing."""
    store, random, numbers = open_store(f"redis://127.0.0.1:{server.port}"), Random(3), count()
    charged: dict[str, int] = {}
    done = asyncio.Event()
    callers = [asyncio.create_task(exchanges(store, random, numbers, charged, done)) for _ in range(CALLERS)]
    for _ in range(KILLS):
        before = len(charged)
        while len(charged) < before + 50 + random.randrange(50):  # noqa: ASYNC110 – callers tell nobody of their exchanges
            await asyncio.sleep(0.001)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
    done.set()
    await asyncio.gather(*callers)
    records = [entry.members async for entry in all_entries(store)]
    assert {record["exchange"]: int(record["tokens"]) for record in records} == charged and len(records) == len(charged)
    assert await store.read("acme", TOKENS, now_ms=NOW) == (sum(charged.values()),) * 3
    print(f"{KILLS} kills: {len(charged)} exchanges, {sum(charged.values())} tokens, lost 0, charged twice 0")
    await store.close()


async def exchanges(store: Store, random: Random, numbers: "count[int]", charged: dict[str, int], done: asyncio.Event) -> None:
    """Reserve and settle until told to stop; every call is repeated until it is answered, and sometimes once more."""
    while not done.is_set():
        lease, tokens = f"lease-{next(numbers)}", random.randrange(200)
        closing = Closing(lease, {"tokens": tokens}, {"exchange": lease, "tokens": str(tokens)})
        for _ in range(random.choice((1, 1, 2))):
            assert isinstance(await reserved(store, lease), Admitted)
        for _ in range(random.choice((1, 1, 2))):
            await settled(store, closing)
        charged[lease] = tokens


async def reserved(store: Store, lease: str) -> object:
    while True:
        try:
            return await store.reserve("acme", lease, TOKENS, now_ms=NOW, ttl_ms=3_600_000)
        except StoreUnavailable:
            await asyncio.sleep(0.01)


async def settled(store: Store, closing: Closing) -> None:
    while True:
        try:
            await store.settle_many("acme", [closing], now_ms=NOW)
            return
        except StoreUnavailable:
            await asyncio.sleep(0.01)


async def all_entries(store: Store) -> AsyncIterator[Entry]:
    after = ""
    while entries := await store.entries("acme", after=after):
        for entry in entries:
            yield entry
        after = entries[-1].id
