"""API keys in the store: what a worker knows of them, and for how long."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.core.roster import Changes, Seen
from headrace.ext_proc.engine import following
from headrace.ext_proc.engine.key_store import ROSTER, put_key
from headrace.ext_proc.engine.keys import KeyRecord
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.stores.memory import MemoryStore
from tests.filters.compiled import ManualClock
from tests.filters.identity.support import NOON, SECRET, Caller, bearer, keep, policy_of, principal, reason, record, refusal
from tests.stores.rollback import remembered

ADA = Principal(team="research", user="ada", key="key_1")
OTHER = "hr-another"


class Watched(MemoryStore):
    """Counts what it is asked, can be down, and can be held up."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.down, self.passes = 0, False, asyncio.Event()
        self.away_after: int | None = None
        self.passes.set()

    async def changes(self, roster: str, seen: Seen, *, limit: int = 1000) -> Changes:
        self.asked += 1
        await self.passes.wait()
        if self.down or (self.away_after is not None and self.asked > self.away_after):
            raise StoreUnavailable("down")
        return await super().changes(roster, seen, limit=limit)


@dataclass
class Site:
    store: Watched
    clock: ManualClock
    policy: Policy

    async def asked_by(self, secret: str = SECRET) -> int:
        """How often the store was asked for one caller, who was let in."""
        before = self.store.asked
        await principal(self.policy, bearer(secret))
        return self.store.asked - before

    async def outcome(self, secret: str = SECRET) -> tuple[int, str]:
        return refusal(await Caller(self.policy, (bearer(secret),)).asks("m"))

    async def settled(self) -> None:
        """Lets what runs in the background end."""
        for _ in range(20):
            await asyncio.sleep(0)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    keep(tmp_path)
    store, clock = Watched(), ManualClock()
    identity = "identity: [{api_keys: {store: true, pepper_file: headrace.pepper, stale_seconds: 30}}]"
    return Site(store, clock, policy_of(tmp_path, identity, store=store, clock=clock))


async def put(site: Site, *keys: KeyRecord) -> None:
    for key in keys:
        known = await site.store.listed(ROSTER, key.id)
        assert await put_key(site.store, key, revision=known.revision if known else 0)


async def test_a_key_names_its_principal(site: Site) -> None:
    await put(site, record())
    assert await principal(site.policy, bearer(SECRET)) == ADA
    assert await reason(site.policy, bearer("hr-unknown")) == "auth.invalid"
    assert await reason(site.policy) == "auth.missing"


async def test_a_caller_in_steady_use_never_waits_for_the_store(site: Site) -> None:
    await put(site, record())
    assert await site.asked_by() == 1
    site.store.passes.clear()
    for _ in range(10):
        site.clock.now += following.LOOK_MS
        site.store.passes.clear()
        assert await site.asked_by() == 0
        site.store.passes.set()
        await site.settled()
    assert site.store.asked == 11


async def test_a_revoked_key_is_refused_when_the_bound_is_over_at_the_latest(site: Site) -> None:
    await put(site, record())
    await site.asked_by()
    await put(site, record(disabled=True))
    site.clock.now += following.LATE_MS - 1
    assert await principal(site.policy, bearer(SECRET)) == ADA
    site.clock.now += 1
    assert await reason(site.policy, bearer(SECRET)) == "auth.invalid"


async def test_a_key_works_from_the_moment_it_was_made(site: Site) -> None:
    await put(site, record())
    await site.asked_by()
    await put(site, record(OTHER, id="key_2", user="bob"))
    assert (await principal(site.policy, bearer(OTHER))).user == "bob"


async def test_a_key_made_while_a_look_was_under_way_is_found_by_the_next_one(site: Site) -> None:
    await put(site, record())
    await site.asked_by()
    site.clock.now += following.LOOK_MS
    site.store.passes.clear()
    await site.asked_by()
    asking = asyncio.create_task(principal(site.policy, bearer(OTHER)))
    await site.settled()
    await put(site, record(OTHER, id="key_2"))
    site.store.passes.set()
    assert (await asking).key == "key_2"


async def test_unknown_keys_at_once_share_a_look(site: Site) -> None:
    await put(site, record())
    await site.asked_by()
    before = site.store.asked
    assert set(await asyncio.gather(*(reason(site.policy, bearer(f"hr-{n}")) for n in range(200)))) == {"auth.invalid"}
    assert site.store.asked - before <= 2


async def test_what_is_no_key_costs_no_look(site: Site) -> None:
    await put(site, record())
    await site.asked_by()
    before = site.store.asked
    assert await reason(site.policy, bearer("eyJhbGciOi.J9.x")) == "auth.invalid"
    assert site.store.asked == before


async def test_a_key_ends_at_its_last_moment(site: Site) -> None:
    await put(site, record(expires=NOON + timedelta(seconds=1)))
    await site.asked_by()
    site.clock.now += 1000
    assert await reason(site.policy, bearer(SECRET)) == "auth.expired"


class TestWhileTheStoreIsDown:
    async def test_a_worker_that_knows_no_keys_admits_nobody(self, site: Site) -> None:
        site.store.down = True
        assert await site.outcome() == (503, "identity.failed")

    async def test_known_keys_are_believed_for_a_while(self, site: Site) -> None:
        await put(site, record())
        await site.asked_by()
        site.store.down = True
        site.clock.now += 29_999
        assert await principal(site.policy, bearer(SECRET)) == ADA
        site.clock.now += 1
        assert await site.outcome() == (503, "identity.failed")

    async def test_whether_another_key_is_known_is_not_claimed(self, site: Site) -> None:
        await put(site, record())
        await site.asked_by()
        site.store.down = True
        assert [await site.outcome(OTHER) for _ in range(2)] == [(503, "identity.failed")] * 2

    async def test_one_request_in_a_second_waits_for_it(self, site: Site) -> None:
        await put(site, record())
        await site.asked_by()
        site.store.down = True
        site.clock.now += following.LATE_MS
        assert [await site.asked_by() for _ in range(5)] == [1, 0, 0, 0, 0]
        site.clock.now += following.AGAIN_MS
        assert await site.asked_by() == 1

    async def test_what_changed_meanwhile_counts_when_it_is_back(self, site: Site) -> None:
        await put(site, record())
        await site.asked_by()
        site.store.down = True
        site.clock.now += following.LATE_MS
        await site.asked_by()
        await put(site, record(disabled=True))
        site.store.down = False
        site.clock.now += following.AGAIN_MS
        assert await reason(site.policy, bearer(SECRET)) == "auth.invalid"


async def test_a_clock_that_is_put_back_makes_nothing_fresher(site: Site) -> None:
    await put(site, record())
    await site.asked_by()
    await put(site, record(disabled=True))
    site.clock.now -= 1
    assert await reason(site.policy, bearer(SECRET)) == "auth.invalid"


DAMAGED = [b"", b"{}", b"no json", b"\xff", b'{"digest":"\xff"}', b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"]


@pytest.mark.parametrize("content", [*DAMAGED, record(id="key_9").model_dump_json().encode()])
async def test_a_record_that_is_not_the_key_s_admits_nobody(site: Site, content: bytes) -> None:
    await put(site, record())
    await site.asked_by()
    assert await site.store.enrol(ROSTER, "key_1", content, revision=1)
    site.clock.now += following.LATE_MS
    assert await reason(site.policy, bearer(SECRET)) == "auth.invalid"


async def test_more_keys_than_a_page_are_all_known(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "PAGE", 3)
    await put(site, *(record(f"hr-{n}", id=f"key_{n}", user=f"user {n}") for n in range(9)))
    assert [(await principal(site.policy, bearer(f"hr-{n}"))).key for n in range(9)] == [f"key_{n}" for n in range(9)]
    assert site.store.asked == 4


async def test_a_reload_does_not_read_the_keys_again(site: Site, tmp_path: Path) -> None:
    await put(site, record())
    await site.asked_by()
    identity = "identity: [{api_keys: {store: true, pepper_file: headrace.pepper}}]"
    site.policy = policy_of(tmp_path, identity, store=site.store, clock=site.clock)
    assert await site.asked_by() == 0


class TestWhenTheStoreHasLostItsLastWrites:
    """A replica was promoted that lacked them, or the server came back from an older file; and then there were others."""

    @staticmethod
    async def lost(site: Site, *, known: bool = True) -> None:
        await put(site, record())
        roll_back = await remembered(site.store, ROSTER)
        await put(site, record(OTHER, id="key_2"), record("hr-third", id="key_3"))
        if known:
            await site.asked_by()
            assert (await principal(site.policy, bearer(OTHER))).key == "key_2"
        await roll_back()

    @pytest.mark.parametrize("made_before", [0, 1, 2, 3])
    async def test_a_key_revoked_afterwards_is_refused(self, site: Site, made_before: int) -> None:
        await self.lost(site)
        await put(site, *(record(f"hr-new-{n}", id=f"new_{n}") for n in range(made_before)))
        await put(site, record(disabled=True))
        site.clock.now += following.LATE_MS
        assert await reason(site.policy, bearer(SECRET)) == "auth.invalid"

    async def test_a_key_made_afterwards_works_at_once(self, site: Site) -> None:
        await self.lost(site)
        await put(site, record("hr-new", id="new"))
        assert (await principal(site.policy, bearer("hr-new"))).key == "new"

    async def test_a_key_that_was_lost_is_refused(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        await self.lost(site)
        site.clock.now += following.LATE_MS
        assert await reason(site.policy, bearer(OTHER)) == "auth.invalid"
        assert await principal(site.policy, bearer(SECRET)) == ADA
        assert [one.getMessage() for one in caplog.records if one.levelname == "WARNING"] == [
            "the store has lost changes that were in force; all records are read again"
        ]

    async def test_a_key_that_was_lost_and_put_back_under_another_id_works(self, site: Site) -> None:
        await self.lost(site)
        await put(site, record(OTHER, id="key_4"))
        site.clock.now += following.LATE_MS
        assert (await principal(site.policy, bearer(OTHER))).key == "key_4"

    async def test_keys_that_stay_are_known_all_the_while(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(following, "PAGE", 1)
        await put(site, *(record(f"hr-{n}", id=f"old_{n}") for n in range(3)))
        await self.lost(site)
        site.clock.now += following.LOOK_MS
        asked = site.store.asked
        assert [await site.asked_by(f"hr-{n}") for n in (2, 1, 0)] == [0, 0, 0]
        await site.settled()
        assert site.store.asked - asked == 5
        assert await reason(site.policy, bearer(OTHER)) == "auth.invalid"

    async def test_reading_again_goes_on_where_the_store_was_away(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(following, "PAGE", 1)
        await self.lost(site)
        await put(site, record("hr-new", id="new"))
        site.clock.now += following.LOOK_MS
        site.store.passes.clear()
        await site.asked_by()
        await site.settled()
        site.store.away_after = site.store.asked
        site.store.passes.set()
        await site.settled()
        site.store.away_after = None
        site.clock.now += following.LATE_MS
        assert (await principal(site.policy, bearer("hr-new"))).key == "new"
        assert await principal(site.policy, bearer(SECRET)) == ADA
        assert await reason(site.policy, bearer(OTHER)) == "auth.invalid"

    async def test_who_had_not_heard_of_what_was_lost_goes_on(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        await self.lost(site, known=False)
        assert await principal(site.policy, bearer(SECRET)) == ADA
        assert not [one for one in caplog.records if one.levelname == "WARNING"]
