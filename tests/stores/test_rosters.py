"""Rosters: records with revisions, on every store."""

import asyncio
from collections import deque
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.core.roster import Changes, Listed, RosterFull, Seen
from headrace.ext_proc.stores import memory_rosters, redis
from headrace.ext_proc.stores.memory_rosters import Roster
from tests.stores.rollback import remembered, without_marks

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


async def caught_up(store: Store, roster: str) -> Seen:
    return (await store.changes(roster, Seen())).seen


async def test_who_has_seen_all_hears_of_what_is_new(store: Store, organisation: str) -> None:
    assert await store.changes(organisation, Seen()) == Changes([], Seen())
    for name in "ab":
        await store.enrol(organisation, name, RAW)
    first = await store.changes(organisation, Seen(), limit=1)
    assert (first.records, first.seen.revision, first.lost) == ([Listed("a", RAW, 1)], 1, False)
    rest = await store.changes(organisation, first.seen)
    assert (rest.records, rest.seen.revision, rest.lost) == ([Listed("b", RAW, 2)], 2, False)
    assert await store.changes(organisation, rest.seen) == Changes([], rest.seen)
    await store.enrol(organisation, "b", b"again", revision=2)
    last = await store.changes(organisation, rest.seen)
    assert (last.records, last.lost) == ([Listed("b", b"again", 3)], False)


@pytest.mark.parametrize("made_since", [0, 1, 2, 3])
async def test_who_has_seen_what_the_store_has_lost_is_told_so_and_reads_all(
    store: Store, organisation: str, made_since: int
) -> None:
    await store.enrol(organisation, "a", b"")
    roll_back = await remembered(store, organisation)
    for name in "bc":
        await store.enrol(organisation, name, b"")
    seen = await caught_up(store, organisation)
    await roll_back()
    for name in "bcd"[:made_since]:
        await store.enrol(organisation, name, b"")
    changes = await store.changes(organisation, seen, limit=2)
    assert changes.lost
    assert [one.id for one in changes.records] == [*"abcd"[: made_since + 1]][:2]
    assert not (await store.changes(organisation, changes.seen)).lost


async def test_a_roster_that_is_lost_altogether_is_told_of(store: Store, organisation: str) -> None:
    roll_back = await remembered(store, organisation)
    await store.enrol(organisation, "a", b"")
    seen = await caught_up(store, organisation)
    await roll_back()
    assert await store.changes(organisation, seen) == Changes([], Seen(), lost=True)


async def test_what_an_older_release_has_written_is_followed(store: Store, organisation: str) -> None:
    for name in "ab":
        await store.enrol(organisation, name, b"")
    await without_marks(store, organisation)
    old = await store.changes(organisation, Seen())
    assert ([one.id for one in old.records], old.seen) == (["a", "b"], Seen(2))
    await store.enrol(organisation, "c", b"")
    new = await store.changes(organisation, old.seen)
    assert ([one.id for one in new.records], new.lost) == (["c"], False)
    await without_marks(store, organisation)
    again = await store.changes(organisation, new.seen)
    assert ([one.id for one in again.records], again.lost) == (["a", "b", "c"], True)


async def test_of_revisions_long_past_no_mark_is_kept(store: Store, organisation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (redis, memory_rosters):
        monkeypatch.setattr(module, "MARKS_MAX", 2)
    seen = []
    for name in "abc":
        await store.enrol(organisation, name, b"")
        seen.append(await caught_up(store, organisation))
    assert [(await store.changes(organisation, each)).lost for each in seen] == [True, False, False]


async def test_a_record_that_goes_back_behind_a_page_is_read(store: Store, organisation: str) -> None:
    for name in "ab":
        await store.enrol(organisation, name, b"")
    roll_back = await remembered(store, organisation)
    await store.enrol(organisation, "a", b"changed", revision=1)
    page = await store.changes(organisation, Seen(), limit=1)
    assert [one.id for one in page.records] == ["b"]
    await roll_back()
    await store.enrol(organisation, "c", b"")
    again = await store.changes(organisation, page.seen)
    assert again.lost and [one.id for one in again.records] == ["a", "b", "c"]


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


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans(), st.booleans(), st.integers(1, 3)), max_size=30))
def test_who_follows_a_store_that_loses_its_last_writes_has_what_is_there(
    changes: list[tuple[str, bool, bool, int]],
) -> None:
    """However changes, losses and pages interleave."""
    roster, held, seen = Roster(), dict[str, Listed](), Seen()
    past = deepcopy(roster)
    for number, (id, is_kept, is_lost, limit) in enumerate(changes):
        if is_kept:
            past = deepcopy(roster)
        if is_lost:
            roster = deepcopy(past)
        roster.enrol(id, b"%d" % number, roster.records[id].revision if id in roster.records else 0)
        seen = _heard(roster, held, seen, limit)
    while seen != _heard(roster, held, seen, 1000):
        seen = _heard(roster, held, seen, 1000)
    assert held == roster.records


def _heard(roster: Roster, held: dict[str, Listed], seen: Seen, limit: int) -> Seen:
    found = roster.changes(seen, limit)
    if found.lost:
        held.clear()
    held.update({one.id: one for one in found.records})
    return found.seen
