"""Keys through the admin API, as the identity filter finds them in the store."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from headrace.ext_proc.admin import keys
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.engine.key_store import ROSTER
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.stores import memory_rosters
from headrace.ext_proc.stores.memory import MemoryStore
from tests.admin.conftest import Api, code_of, problems_of
from tests.filters.compiled import ManualClock, compiled
from tests.filters.identity.support import bearer, principal, reason


@pytest.fixture
def worker(on: Api, tmp_path: Path) -> Policy:
    """The policy as a worker has it, over the same store."""
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "headrace.pepper").write_text((tmp_path / "headrace.pepper").read_text())
    return compiled(tmp_path / "worker", on.policy.read_text(), store=on.store, clock=ManualClock())


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_a_key_is_shown_once_and_works(on: Api, worker: Policy) -> None:
    made = await on.done("/keys", {"organisation": "acme", "team": "research", "app": "bot", "user": "ada", "models": ["gpt-*"]})
    assert made["key"].startswith("hr-")
    assert await principal(worker, bearer(made["key"])) == Principal("acme", "research", "bot", "ada", made["id"])
    shown = await on.get(f"/keys/{made['id']}")
    assert shown == {name: value for name, value in made.items() if name != "key"}
    assert (shown["state"], shown["models"], shown["expires"]) == ("active", ["gpt-*"], None)
    listed = await on.store.listed(ROSTER, made["id"])
    assert listed and made["key"].encode() not in listed.value


async def test_a_revoked_key_is_refused_and_stays_in_the_list(on: Api, worker: Policy) -> None:
    made = await on.done("/keys", {})
    ended = await on.done(f"/keys/{made['id']}/revoke")
    assert ended["state"] == "revoked" == (await on.get("/keys"))["keys"][0]["state"]
    assert await reason(worker, bearer(made["key"])) == "auth.invalid"
    assert await on.done(f"/keys/{made['id']}/revoke") == ended


async def test_a_key_ends_when_it_was_said_to(on: Api, worker: Policy) -> None:
    made = await on.done("/keys", {"expires": "2026-06-01T12:00:01+00:00"})
    assert await principal(worker, bearer(made["key"]))
    on.now += timedelta(seconds=1)
    assert (await on.get(f"/keys/{made['id']}"))["state"] == "expired"


async def test_an_end_that_is_over_or_beyond_the_calendar_is_refused(on: Api) -> None:
    beyond = "9999-12-31T23:59:59-23:59"
    for expires in ("2026-06-01T12:00:00Z", "2020-01-01T00:00:00Z", "2026-06-02T00:00:00", "tomorrow", 4e12, beyond):
        assert problems_of(await on.post("/keys", {"expires": expires})) == ["body.expires"]


@pytest.mark.parametrize("name", ["", " ada", "a{b}", "x" * 257, "a\nb", 5, ["ada"]])
async def test_names_that_cannot_name_anyone_are_refused(on: Api, name: object) -> None:
    assert problems_of(await on.post("/keys", {"user": name})) == ["body.user"]


class TestRotation:
    async def test_the_old_key_works_for_the_overlap_and_the_new_one_takes_its_place(self, on: Api, worker: Policy) -> None:
        old = await on.done("/keys", {"team": "research", "models": ["llama"], "expires": "2026-07-01T00:00:00Z"})
        both = await on.done(f"/keys/{old['id']}/rotate", {"overlap_seconds": 60})
        new, replaced = both["key"], both["replaces"]
        assert (new["team"], new["models"], new["expires"]) == ("research", ["llama"], "2026-07-01T00:00:00Z")
        assert (replaced["id"], replaced["expires"]) == (old["id"], "2026-06-01T12:01:00Z")
        assert [(await principal(worker, bearer(key["key"]))).key for key in (old, new)] == [old["id"], new["id"]]

    async def test_the_overlap_ends_no_later_than_the_key(self, on: Api) -> None:
        old = await on.done("/keys", {"expires": "2026-06-01T13:00:00Z"})
        both = await on.done(f"/keys/{old['id']}/rotate", {})
        assert both["replaces"]["expires"] == both["key"]["expires"] == "2026-06-01T13:00:00Z"

    async def test_a_key_that_has_ended_is_not_brought_back(self, on: Api) -> None:
        gone = await on.done("/keys", {})
        await on.done(f"/keys/{gone['id']}/revoke")
        over = await on.done("/keys", {"expires": "2026-06-01T12:00:01Z"})
        on.now += timedelta(seconds=1)
        for key in (gone, over):
            assert code_of(await on.post(f"/keys/{key['id']}/rotate", {})) == (409, "conflict")
        assert len((await on.get("/keys"))["keys"]) == 2

    async def test_a_key_that_is_revoked_meanwhile_stays_revoked_and_its_heir_is_too(self, on: Api, worker: Policy) -> None:
        """Between the look at the key and its change, somebody revokes it."""
        old = await on.done("/keys", {})
        racing = Api(Racing(on), on.policy, tokens=on.tokens)
        assert code_of(await racing.post(f"/keys/{old['id']}/rotate", {})) == (409, "conflict")
        assert [key["state"] for key in (await on.get("/keys"))["keys"]] == ["revoked", "revoked"]

    @pytest.mark.parametrize("overlap", [-1, keys.OVERLAP_MAX_S + 1, "1h", 1.5, True])
    async def test_an_overlap_that_is_none_is_refused(self, on: Api, overlap: object) -> None:
        old = await on.done("/keys", {})
        assert problems_of(await on.post(f"/keys/{old['id']}/rotate", {"overlap_seconds": overlap})) == ["body.overlap_seconds"]


class Racing(MemoryStore):
    """The store of `on`, in which another revokes every key just after it was looked at."""

    def __init__(self, on: Api) -> None:
        super().__init__()
        self._on = on
        assert isinstance(on.store, MemoryStore)
        self._rosters = on.store._rosters

    async def listed(self, roster: str, id: str) -> Listed | None:
        found = await super().listed(roster, id)
        if roster == ROSTER:
            await self._on.done(f"/keys/{id}/revoke")
        return found


async def test_of_two_who_revoke_and_change_at_once_one_is_told(on: Api) -> None:
    made = await on.done("/keys", {})

    class Changing(Racing):
        async def listed(self, roster: str, id: str) -> Listed | None:
            found = await MemoryStore.listed(self, roster, id)
            if roster == ROSTER:
                await self._on.done(f"/keys/{id}/rotate", {})
            return found

    racing = Api(Changing(on), on.policy, tokens=on.tokens)
    assert code_of(await racing.post(f"/keys/{made['id']}/revoke")) == (409, "conflict")


async def test_keys_are_listed_in_pages_and_by_whose_they_are(on: Api) -> None:
    made = [(await on.done("/keys", {"team": team, "user": user}))["id"] for team in ("a", "b") for user in ("x", "y", "z")]
    await on.done(f"/keys/{made[0]}/revoke")
    seen: list[str] = []
    after: int | None = 0
    while after is not None:
        page = await on.get("/keys", limit=2, after=after)
        seen, after = seen + [key["id"] for key in page["keys"]], page["next"]
    assert seen == [*made[1:], made[0]]
    assert [key["user"] for key in (await on.get("/keys", team="b"))["keys"]] == ["x", "y", "z"]
    assert [key["id"] for key in (await on.get("/keys", team="a", state="revoked"))["keys"]] == [made[0]]
    assert (await on.get("/keys", team="b", limit=3))["next"] is None
    assert (await on.get("/keys", team="b", limit=2))["next"] is not None


@pytest.mark.parametrize("id", ["none", "key_", "x" * 1000, "%00", "%F0%9F%94%91", "key_123456789abc"])
async def test_a_key_that_is_not_there_is_not_found(on: Api, id: str) -> None:
    found = await on.client.get(f"/keys/{id}", headers=await on.as_("viewer"))
    assert code_of((found.status_code, found.json())) == (404, "not_found")


async def test_a_policy_that_takes_no_keys_from_the_store_makes_none(on: Api) -> None:
    on.policy.write_text(on.policy.read_text().replace("store: true", "file: keys.yaml"))
    answered = await on.post("/keys", {})
    assert code_of(answered) == (409, "conflict") and "store: true" in answered[1]["error"]["message"]


@pytest.mark.parametrize("text", ["", "nonsense: [", "version: 2"])
async def test_a_policy_with_problems_makes_no_key(on: Api, text: str) -> None:
    on.policy.write_text(text)
    assert code_of(await on.post("/keys", {})) == (409, "conflict")


async def test_without_a_pepper_no_key_is_made(on: Api) -> None:
    (on.policy.parent / "headrace.pepper").unlink()
    assert code_of(await on.post("/keys", {})) == (409, "conflict")
    assert (await on.get("/keys"))["keys"] == []


async def test_when_the_roster_is_full_no_key_is_made(on: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await on.done("/keys", {})
    monkeypatch.setattr(memory_rosters, "ROSTER_MAX", 1)
    assert code_of(await on.post("/keys", {})) == (409, "conflict")


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "1001"}, {"after": "x"}, {"state": "dead"}, {"such": ""}])
async def test_a_query_with_what_is_none_is_refused(on: Api, query: dict[str, str]) -> None:
    found = await on.client.get("/keys", headers=await on.as_("viewer"), params=query)
    assert problems_of((found.status_code, found.json())) == [f"query.{name}" for name in query]


async def test_a_parameter_given_twice_is_refused(on: Api) -> None:
    found = await on.client.get("/keys?limit=1&limit=2", headers=await on.as_("viewer"))
    assert code_of((found.status_code, found.json())) == (400, "request.invalid")
