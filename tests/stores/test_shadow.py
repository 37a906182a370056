"""What a candidate counts touches nobody's budget."""

import pytest

from headrace.ext_proc.core.ledger import Admitted, Charge, Closing, Fixed
from headrace.ext_proc.core.roster import Listed, Seen
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.ext_proc.stores.shadow import PREFIX, ShadowStore
from tests.stores.closing import release, settle

CHARGE = Charge("c", "tokens", 100, 40, Fixed(0, 10_000))


async def test_every_operation_is_of_another_organisation() -> None:
    store = MemoryStore()
    shadow = ShadowStore(store)
    assert await shadow.reserve("o", "l", [CHARGE], now_ms=1, ttl_ms=1000) == Admitted((60,))
    assert await store.read("o", [CHARGE], now_ms=2) == (0,)
    assert await shadow.read("o", [CHARGE], now_ms=2) == await store.read(f"{PREFIX}o", [CHARGE], now_ms=2) == (40,)
    assert await shadow.extend("o", "l", {"tokens": 50}, now_ms=3, ttl_ms=1000) == Admitted((50,))
    assert not await settle(store, "o", "l", {"tokens": 10}, now_ms=4)
    assert await settle(shadow, "o", "l", {"tokens": 10}, now_ms=4)
    assert not await release(shadow, "o", "l", now_ms=5)
    await shadow.reserve("o", "m", [CHARGE], now_ms=6, ttl_ms=1000)
    (closed,) = await shadow.settle_many("o", [Closing("m", {"tokens": 1}, {"team": "t"})], now_ms=7)
    assert closed.applied
    assert await store.entries("o") == []
    assert [entry.members["team"] for entry in await shadow.entries("o")] == ["t"]
    await shadow.ping()


async def test_rosters_are_the_same_and_are_not_written() -> None:
    store = MemoryStore()
    shadow = ShadowStore(store)
    await store.enrol("keys", "d", b"v")
    assert await shadow.listed("keys", "d") == Listed("d", b"v", 1)
    assert await shadow.listed_since("keys", 0) == [Listed("d", b"v", 1)]
    assert (await shadow.changes("keys", Seen())).records == [Listed("d", b"v", 1)]
    with pytest.raises(NotImplementedError):
        await shadow.enrol("keys", "e", b"v")
    await shadow.close()
    await store.ping()
