"""Rosters: records with revisions, on every store."""

import asyncio
from collections import deque
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.roster import Listed, RosterFull
from headrace.ext_proc.stores import memory_rosters, redis
from headrace.ext_proc.stores.memory_rosters import Roster

RAW = b"\x00\xff\r\n{}"


async def test_a_record_is_put_changed_and_found(store: Store, organisation: str) -> None:
    assert await store.listed(organisation, "a") is None
    first = await store.enrol(organisation, "a", RAW)
    assert await store.listed(organisation, "a") == Listed("a", RAW, first)
    second = await store.enrol(organisation, "a", b"", revision=first)
    assert (first, second) == (1, 2)
    assert await store.listed(organisation, "a") == Listed("a", b"", second)


async def test_a_record_that_another_has_changed_meanwhile_stays(store: Store, organisation: str) -> None:
    first = await store.enrol(organisation, "a", b"first")
    second = await store.enrol(organisation, "a", b"second", revision=first)
    refused = [
        await store.enrol(organisation, "a", b"third", revision=first),
        await store.enrol(organisation, "a", b"third"),
        await store.enrol(organisation, "b", b"third", revision=second),
    ]
    assert refused == [0, 0, 0]
    assert await store.listed_since(organisation, 0) == [Listed("a", b"second", second)]


async def test_a_call_that_comes_twice_changes_once(store: Store, organisation: str) -> None:
    first = await store.enrol(organisation, "a", b"first")
    await store.enrol(organisation, "b", b"other")
    assert await store.enrol(organisation, "a", b"first") == first
    second = await store.enrol(organisation, "a", b"second", revision=first)
    assert await store.enrol(organisation, "a", b"second", revision=first) == second == 3


async def test_of_changes_at_once_one_counts(store: Store, organisation: str) -> None:
    first = await store.enrol(organisation, "a", b"first")
    outcomes = await asyncio.gather(*(store.enrol(organisation, "a", b"%d" % n, revision=first) for n in range(20)))
    assert sorted(outcomes) == [0] * 19 + [2]


async def test_changes_are_followed_in_pages(store: Store, organisation: str) -> None:
    for name in "abcde":
        await store.enrol(organisation, name, name.encode())
    await store.enrol(organisation, "b", b"changed", revision=2)
    first = await store.listed_since(organisation, 0, limit=2)
    assert [(one.id, one.revision) for one in first] == [("a", 1), ("c", 3)]
    rest = await store.listed_since(organisation, 3)
    assert [(one.id, one.value) for one in rest] == [("d", b"d"), ("e", b"e"), ("b", b"changed")]
    assert await store.listed_since(organisation, rest[-1].revision) == []


async def test_rosters_are_apart(store: Store, organisation: str) -> None:
    await store.enrol(organisation, "a", b"1")
    assert await store.listed_since(f"{organisation}{{x}}:", 0) == []
    assert await store.enrol(f"{organisation}{{x}}:", "a", b"2") == 1
    assert await store.listed(organisation, "a") == Listed("a", b"1", 1)


async def test_a_roster_that_is_full_takes_changes_and_nothing_new(
    store: Store, organisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (redis, memory_rosters):
        monkeypatch.setattr(module, "ROSTER_MAX", 2)
    await store.enrol(organisation, "a", b"1")
    await store.enrol(organisation, "b", b"1")
    with pytest.raises(RosterFull):
        await store.enrol(organisation, "c", b"1")
    assert await store.enrol(organisation, "a", b"2", revision=1) == 3


@pytest.mark.parametrize(("roster", "id"), [("", "a"), ("keys", "")])
async def test_what_has_no_name_is_refused(store: Store, roster: str, id: str) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        await store.enrol(roster, id, b"")
    with pytest.raises(ValueError, match="must not be empty"):
        await store.listed(roster, id)


CHANGES = st.lists(st.tuples(st.sampled_from("abcd"), st.binary(max_size=2), st.integers(0, 6), st.integers(1, 3)), max_size=30)


@given(CHANGES)
def test_who_follows_the_changes_has_what_is_there(changes: list[tuple[str, bytes, int, int]]) -> None:
    """However changes and pages interleave, a follower that looks until nothing is new has every record as it is."""
    roster, seen, last = Roster(), dict[str, Listed](), 0
    pending: deque[Any] = deque(changes)
    while pending:
        id, value, revision, limit = pending.popleft()
        roster.enrol(id, value, revision)
        for one in roster.since(last, limit):
            seen[one.id], last = one, one.revision
    for one in roster.since(last, 1000):
        seen[one.id] = one
    assert seen == roster.records
