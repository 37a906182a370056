"""Who may use the admin API, and what it never gives away."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from headrace.ext_proc.admin import reading
from headrace.ext_proc.admin.app import PREFIX
from headrace.ext_proc.admin.operations import OPERATIONS
from headrace.ext_proc.admin.tokens import ROSTER, Role, revoked
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.core.roster import Listed
from headrace.ext_proc.stores.memory import MemoryStore
from tests.admin.conftest import Api, code_of

ROLES = {Role.VIEWER: {Role.VIEWER}, Role.OPERATOR: {Role.VIEWER, Role.OPERATOR}, Role.APPROVER: {Role.VIEWER, Role.APPROVER}}


async def refused(on: Api, **headers: str) -> tuple[int, str]:
    found = await on.client.get("/caller", headers=headers)
    assert found.headers["www-authenticate"].startswith("Bearer")
    return found.status_code, found.json()["error"]["code"]


async def test_a_token_says_whose_it_is(on: Api) -> None:
    fresh = await on.token(Role.OPERATOR, Role.APPROVER, holder="ada")
    found = await on.client.get("/caller", headers={"authorization": f"bearer  {fresh.secret} "})
    assert found.json() == {
        "id": fresh.record.id, "holder": "ada", "roles": ["operator", "approver"], "expires": "2026-06-02T12:00:00Z",
    }  # fmt: skip


async def test_without_a_token_nobody_is_let_in(on: Api) -> None:
    assert await refused(on) == (401, "auth.missing")


async def test_what_is_no_token_of_ours_is_refused(on: Api) -> None:
    fresh = await on.token(Role.VIEWER, holder="ada")
    other = await on.token(Role.VIEWER, holder="bob")
    id, secret = fresh.record.id, fresh.secret
    for wrong in (
        secret[:-1], secret + "A", secret.upper(), f"hra-{other.record.id}-{secret[17:]}", f"hra-{'0' * 12}-{secret[17:]}",
        f"hra-{id}-", fresh.record.digest, "", "hra", "x" * 10_000, f"{secret} {secret}",
    ):  # fmt: skip
        assert await refused(on, authorization=f"Bearer {wrong}") == (401, "auth.invalid"), wrong
    assert await refused(on, authorization=f"Basic {secret}") == (401, "auth.invalid")


async def test_two_tokens_are_refused(on: Api) -> None:
    secret = (await on.token(Role.VIEWER, holder="ada")).secret
    shown = ("authorization", f"Bearer {secret}")
    found = await on.client.get("/caller", headers=[shown, shown])
    assert code_of((found.status_code, found.json())) == (401, "auth.invalid")


async def test_a_token_ends_at_its_last_moment(on: Api) -> None:
    fresh = await on.token(Role.VIEWER, holder="ada", days=1)
    on.now = fresh.record.expires - timedelta(microseconds=1)
    assert (await on.client.get("/caller", headers={"authorization": f"Bearer {fresh.secret}"})).status_code == 200
    on.now = fresh.record.expires
    assert await refused(on, authorization=f"Bearer {fresh.secret}") == (401, "auth.expired")


async def test_a_revoked_token_ends_at_once(on: Api) -> None:
    fresh = await on.token(Role.VIEWER, holder="ada")
    await on.store.enrol(ROSTER, fresh.record.id, revoked(fresh.record, on.now, "root").packed(), revision=1)
    assert await refused(on, authorization=f"Bearer {fresh.secret}") == (401, "auth.invalid")


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b'{"id": "x"}'])
async def test_a_record_that_cannot_be_read_lets_nobody_in(on: Api, content: bytes) -> None:
    fresh = await on.token(Role.VIEWER, holder="ada")
    await on.store.enrol(ROSTER, fresh.record.id, content, revision=1)
    assert await refused(on, authorization=f"Bearer {fresh.secret}") == (401, "auth.invalid")


async def test_a_token_under_another_s_id_lets_nobody_in(on: Api) -> None:
    fresh = await on.token(Role.VIEWER, holder="ada")
    other = f"hra-{'a' * 12}{fresh.secret[16:]}"
    await on.store.enrol(ROSTER, "a" * 12, fresh.record.packed())
    assert await refused(on, authorization=f"Bearer {other}") == (401, "auth.invalid")


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.name)
async def test_every_operation_is_for_its_roles_alone_and_asks_before_it_reads(on: Api, operation: object) -> None:
    """A body that cannot be read tells who came as far as reading it: the others are turned away before."""
    (row,) = [one for one in OPERATIONS if one is operation]
    path = row.path.format(id="none", name="none")
    for role, grants in ROLES.items():
        found = await on.client.request(row.method, path, headers=await on.as_(role), content=b"{", params={"no": "such"})
        expected = (400, "request.invalid") if row.role in grants else (403, "auth.forbidden")
        assert code_of((found.status_code, found.json())) == expected
    assert (await on.client.request(row.method, path, content=b"{")).status_code == 401


async def test_no_answer_may_be_kept_and_none_is_for_other_sites(on: Api) -> None:
    header = await on.as_("viewer")
    answers = [
        await on.client.get("/caller", headers={**header, "origin": "https://evil.example"}),
        await on.client.get("/caller"),
        await on.client.get("/none", headers=header),
        await on.client.put("/caller", headers=header),
        await on.client.get("/openapi.json"),
        await on.client.options("/keys", headers={"origin": "https://evil.example", "access-control-request-method": "POST"}),
    ]
    assert [answer.status_code for answer in answers] == [200, 401, 404, 405, 200, 405]
    for answer in answers:
        assert (answer.headers["cache-control"], answer.headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert answer.headers["content-type"] == "application/json"
    assert answers[3].headers["allow"] == "GET, HEAD" or answers[3].headers["allow"] == "HEAD, GET"


async def test_a_path_with_a_slash_too_many_is_not_redirected(on: Api) -> None:
    found = await on.client.get("/keys/", headers=await on.as_("viewer"))
    assert code_of((found.status_code, found.json())) == (404, "not_found")


async def test_no_token_and_no_key_reaches_the_log(on: Api, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    made = await on.done("/keys", {"user": "ada"})
    await on.post(f"/keys/{made['id']}/rotate", {"key": "hr-typo"})
    wrong = (await on.token(Role.VIEWER, holder="eve")).secret[:-1]
    await refused(on, authorization=f"Bearer {wrong}")
    said = "".join(f"{record.getMessage()}{vars(record)}" for record in caplog.records if record.name.startswith("headrace"))
    assert "changed through the admin API" in said and "operator" in said
    for secret in (*on.tokens.values(), made["key"], wrong):
        assert secret not in said and secret[-20:] not in said


class Down(MemoryStore):
    async def listed(self, roster: str, id: str) -> Listed | None:
        raise StoreUnavailable("redis://user:password@valkey is away")


async def test_while_the_store_is_away_nobody_is_let_in(on: Api) -> None:
    header = await on.as_("viewer")
    down = Api(Down(), on.policy)
    for method in ("GET", "POST"):
        found = await down.client.request(method, "/keys", headers=header)
        assert code_of((found.status_code, found.json())) == (503, "store.unavailable")
        assert found.headers["retry-after"] == "1" and "password" not in found.text


class Broken(MemoryStore):
    async def listed(self, roster: str, id: str) -> Listed | None:
        raise RuntimeError("a secret")


async def test_a_defect_is_an_answer_in_json_that_says_nothing(on: Api) -> None:
    found = await Api(Broken(), on.policy).client.get("/keys", headers=await on.as_("viewer"))
    assert code_of((found.status_code, found.json())) == (500, "internal")
    assert "secret" not in found.text and found.headers["cache-control"] == "no-store"


class TestBodies:
    async def answered(self, on: Api, content: bytes, content_type: str | None = "application/json") -> tuple[int, str]:
        headers = {**await on.as_("operator"), **({"content-type": content_type} if content_type else {})}
        found = await on.client.post("/keys", headers=headers, content=content)
        return code_of((found.status_code, found.json()))

    @pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
    async def test_that_are_not_said_to_be_json_are_refused(self, on: Api, content_type: str | None) -> None:
        assert await self.answered(on, b"{}", content_type) == (415, "request.media_type")

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff", b"1e999", b"[" * 50_000, b'{"team": "\\ud800"}'])
    async def test_that_are_no_object_are_refused(self, on: Api, content: bytes) -> None:
        assert await self.answered(on, content) == (400, "request.invalid")

    async def test_over_the_limit_are_refused_however_they_come(self, on: Api) -> None:
        assert await self.answered(on, b"{" + b" " * reading.BODY_MAX + b"}") == (413, "request.too_large")
        assert await self.answered(on, b"[" + b" " * (reading.BODY_MAX - 2) + b"]") == (400, "request.invalid")

    async def test_in_chunks_are_counted_as_they_come(self, on: Api) -> None:
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1024
                yield b" " * 1024

        headers = {**await on.as_("operator"), "content-type": "application/json"}
        found = await on.client.post("/keys", headers=headers, content=endless())
        assert (found.status_code, found.headers["connection"]) == (413, "close")
        assert sent <= reading.BODY_MAX + 2048

    async def test_that_do_not_come_are_given_up(self, on: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reading, "BODY_S", 0.01)

        async def slow() -> AsyncIterator[bytes]:
            yield b"{"
            await asyncio.Event().wait()

        headers = {**await on.as_("operator"), "content-type": "application/json"}
        found = await on.client.post("/keys", headers=headers, content=slow())
        assert code_of((found.status_code, found.json())) == (400, "request.invalid")

    async def test_say_what_is_wrong_without_repeating_it(self, on: Api) -> None:
        status, answer = await on.post("/keys", {"team": "a secret\n", "modles": [], "expires": 5})
        assert status == 400 and "secret" not in str(answer)
        assert [problem["where"] for problem in answer["error"]["problems"]] == ["body.team", "body.expires", "body.modles"]


async def test_what_changes_something_is_told_with_who_did_it(on: Api) -> None:
    await on.get("/caller")
    assert (await on.post("/keys", {"team": "blue"}, who="viewer"))[0] == 403
    assert on.deeds == []
    await on.done("/keys", {"team": "blue"})
    assert [(deed["operation"], deed["holder"], deed["path"]) for deed in on.deeds] == [("createKey", "operator", f"{PREFIX}/keys")]
