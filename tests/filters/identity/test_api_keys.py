"""API keys: in a file, in the store, expired, revoked, and shown twice."""

from datetime import timedelta
from pathlib import Path

import pytest

from headrace.ext_proc.core.events import Proceed, Refuse
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from tests.filters.compiled import ManualClock, exchange_with
from tests.filters.identity.support import (
    KEYS_ONLY,
    NOON,
    PEPPER,
    SECRET,
    Caller,
    bearer,
    error,
    keep,
    policy_of,
    principal,
    reason,
    record,
    refusal,
)
from tests.kit import last, post

ADA = Principal(team="research", user="ada", key="key_1")


@pytest.mark.parametrize(
    "header",
    [
        ("authorization", f"Bearer {SECRET}"),
        ("authorization", f"bearer  {SECRET} "),
        ("x-api-key", SECRET),
        ("api-key", SECRET),
    ],
)
async def test_a_key_names_its_principal_in_each_dialect_s_header(tmp_path: Path, header: tuple[str, str]) -> None:
    keep(tmp_path, record())
    assert await principal(policy_of(tmp_path), header) == ADA


async def test_a_key_is_found_among_many(tmp_path: Path) -> None:
    keep(tmp_path, *(record(f"hr-{n}", id=f"key_{n}", user=f"user {n}", organisation="acme") for n in range(100)))
    assert await principal(policy_of(tmp_path), bearer("hr-42")) == Principal("acme", "research", None, "user 42", "key_42")


@pytest.mark.parametrize("pairs", [[], [("authorization", "Bearer ")], [("authorization", "Basic dXNlcjpw")], [("x-api-key", "")]])
async def test_no_credential_is_refused_as_missing(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    keep(tmp_path, record())
    assert await reason(policy_of(tmp_path), *pairs) == "auth.missing"


@pytest.mark.parametrize(
    "pairs",
    [
        [bearer("hr-unknown")],
        [bearer(SECRET.upper())],
        [bearer(SECRET + "\udcff")],
        [bearer(f"{SECRET} {SECRET}")],
        [bearer(f"{SECRET},{SECRET}")],
        [bearer("x" * 100_000)],
        [bearer(SECRET), bearer(SECRET)],
        [bearer(SECRET), ("x-api-key", "hr-another")],
        [("x-api-key", SECRET), ("api-key", "hr-another")],
        [("x-api-key", SECRET), ("x-api-key", SECRET)],
        [("authorization", "Basic x"), bearer(SECRET)],
    ],
)
async def test_a_credential_that_is_not_one_known_key_is_refused(tmp_path: Path, pairs: list[tuple[str, str]]) -> None:
    keep(tmp_path, record())
    assert await reason(policy_of(tmp_path), *pairs) == "auth.invalid"


async def test_the_same_credential_in_two_headers_is_one(tmp_path: Path) -> None:
    keep(tmp_path, record())
    assert await principal(policy_of(tmp_path), bearer(SECRET), ("x-api-key", SECRET)) == ADA


async def test_a_key_ends_at_its_last_moment(tmp_path: Path) -> None:
    keep(tmp_path, record(expires=NOON + timedelta(seconds=1)))
    clock = ManualClock()
    policy = policy_of(tmp_path, clock=clock)
    assert await principal(policy, bearer(SECRET)) == ADA
    clock.now += 1000
    assert await reason(policy, bearer(SECRET)) == "auth.expired"


async def test_a_revoked_key_is_refused(tmp_path: Path) -> None:
    keep(tmp_path, record(disabled=True))
    assert await reason(policy_of(tmp_path), bearer(SECRET)) == "auth.invalid"


async def test_a_key_of_another_pepper_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, record())
    monkeypatch.setenv("HEADRACE_PEPPER", "f" * 32)
    assert await reason(policy_of(tmp_path), bearer(SECRET)) == "auth.invalid"


async def test_the_pepper_may_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(tmp_path, record())
    (tmp_path / "headrace.pepper").unlink()
    monkeypatch.setenv("HEADRACE_PEPPER", PEPPER)
    assert await principal(policy_of(tmp_path), bearer(SECRET)) == ADA


async def test_no_credential_is_refused_before_the_body_leaves_the_proxy(tmp_path: Path) -> None:
    keep(tmp_path, record())
    exchange = exchange_with(policy_of(tmp_path))
    answer = await last(exchange, post("/v1/messages"))
    assert refusal(answer) == (401, "auth.missing")
    assert error(answer)["type"] == "authentication_error"
    assert isinstance(answer, Refuse) and dict(answer.headers)["www-authenticate"] == "Bearer"


async def test_credentials_end_here(tmp_path: Path) -> None:
    keep(tmp_path, record())
    caller = Caller(policy_of(tmp_path), (bearer(SECRET),))
    assert isinstance(await caller.asks("m"), Proceed)
    assert {"authorization", "x-api-key", "api-key"} <= caller.removed


@pytest.mark.parametrize(
    ("settings", "removed"),
    [("{}", {"authorization"}), ("{forward_credentials: true}", set()), ("{mode: shadow}", set()), ("{mode: off}", set())],
)
async def test_credentials_end_on_other_paths_too(tmp_path: Path, settings: str, removed: set[str]) -> None:
    keep(tmp_path, record())
    answer = await last(exchange_with(policy_of(tmp_path, settings=settings)), post("/v1/files", authorization=f"Bearer {SECRET}"))
    assert isinstance(answer, Proceed)
    assert set(answer.edits.remove_headers) == removed


async def test_credentials_go_on_where_the_policy_says_so(tmp_path: Path) -> None:
    keep(tmp_path, record())
    caller = Caller(policy_of(tmp_path, settings="{forward_credentials: true}"), (bearer(SECRET),))
    assert isinstance(await caller.asks("m"), Proceed)
    assert not {"authorization", "x-api-key", "api-key"} & caller.removed


class TestModels:
    CATALOGUE = "models: [{name: llama}, {name: 'gpt-4*'}]"

    async def test_that_are_not_in_the_catalogue_are_refused(self, tmp_path: Path) -> None:
        keep(tmp_path, record())
        caller = Caller(policy_of(tmp_path, models=self.CATALOGUE), (bearer(SECRET),))
        assert isinstance(await caller.asks("llama"), Proceed)
        assert isinstance(await caller.asks("gpt-4o"), Proceed)
        assert refusal(await caller.asks("claude")) == (403, "model.not_allowed")

    async def test_that_the_key_is_not_for_are_refused_in_the_same_words(self, tmp_path: Path) -> None:
        keep(tmp_path, record(models=("gpt-*",)))
        caller = Caller(policy_of(tmp_path, models=self.CATALOGUE), (bearer(SECRET),))
        assert isinstance(await caller.asks("gpt-4o"), Proceed)
        there, not_there = error(await caller.asks("llama")), error(await caller.asks("clam"))
        assert there["code"] == not_there["code"] == "model.not_allowed"
        assert there["param"] == "model"
        assert there["message"].replace("llama", "") == not_there["message"].replace("clam", "")

    async def test_are_checked_for_the_key_where_there_is_no_catalogue(self, tmp_path: Path) -> None:
        keep(tmp_path, record(models=("gpt-*", "llama")))
        caller = Caller(policy_of(tmp_path), (bearer(SECRET),))
        assert isinstance(await caller.asks("llama"), Proceed)
        assert refusal(await caller.asks("claude")) == (403, "model.not_allowed")

    async def test_are_free_where_nothing_lists_them(self, tmp_path: Path) -> None:
        keep(tmp_path, record())
        assert isinstance(await Caller(policy_of(tmp_path), (bearer(SECRET),)).asks("anything"), Proceed)

    async def test_are_refused_in_anthropic_s_dialect_too(self, tmp_path: Path) -> None:
        keep(tmp_path, record())
        caller = Caller(policy_of(tmp_path, models=self.CATALOGUE), (("x-api-key", SECRET),))
        assert error(await caller.asks("claude", "/v1/messages"))["type"] == "permission_error"

    @pytest.mark.parametrize("model", ["", None, 5, "x" * 100_000, "llama\0", "\ud800", "*", "gpt-4[a]"])
    async def test_of_odd_names_are_refused_as_the_caller_s_mistake(self, tmp_path: Path, model: object) -> None:
        keep(tmp_path, record(models=("llama",)))
        status, _ = refusal(await Caller(policy_of(tmp_path, models=self.CATALOGUE), (bearer(SECRET),)).asks(model))
        assert status in (400, 403)


class TestFiles:
    def problems(self, directory: Path, identity: str = KEYS_ONLY) -> list[str]:
        with pytest.raises(PolicyErrors) as raised:
            policy_of(directory, identity)
        return [str(problem).replace(f"{directory}/", "") for problem in raised.value.problems]

    def test_that_are_missing_are_problems_of_the_policy_s_line(self, tmp_path: Path) -> None:
        assert self.problems(tmp_path) == [
            "policy.yaml:3: identity[0].api_keys.file: cannot read keys.yaml: No such file or directory",
            "policy.yaml:3: identity[0].api_keys.pepper_file: no pepper for API keys: cannot read headrace.pepper: "
            "No such file or directory; set HEADRACE_PEPPER, or make a first key with `headrace keys create`",
        ]

    def test_with_mistakes_are_problems_of_their_own_lines(self, tmp_path: Path) -> None:
        keep(tmp_path)
        (tmp_path / "keys.yaml").write_text("keys:\n  - id: a\n    digset: x\n")
        assert self.problems(tmp_path) == [
            "keys.yaml:2: keys[0]: 'digest' is missing",
            "keys.yaml:3: keys[0].digset: unknown key; did you mean 'digest'?",
        ]

    def test_of_a_short_pepper_are_refused(self, tmp_path: Path) -> None:
        keep(tmp_path)
        (tmp_path / "headrace.pepper").write_text("short")
        (problem,) = self.problems(tmp_path)
        assert "has 5 characters; it needs 32 or more" in problem

    def test_are_followed_by_a_reload(self, tmp_path: Path) -> None:
        keep(tmp_path, record())
        assert policy_of(tmp_path).files == {tmp_path / "keys.yaml", tmp_path / "headrace.pepper"}
