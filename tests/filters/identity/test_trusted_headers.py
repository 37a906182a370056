"""Headers of the gateway in front, and clients that send them themselves."""

from pathlib import Path

import pytest

from headrace.ext_proc.core.events import Proceed
from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.core.verdict import Reply
from tests.filters.identity.support import SECRET, Caller, bearer, heard, keep, policy_of, principal, reason, record

HEADERS = "headers: {organisation: x-org, team: x-team, user: x-user}"
ONLY = f"identity: [{{{HEADERS}}}]"
KEYS_FIRST = f"identity: [{{api_keys: {{file: keys.yaml}}}}, {{{HEADERS}}}]"


async def test_they_name_the_principal(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, ONLY)
    assert await principal(policy, ("x-team", "data science"), ("x-user", "ada@example.com")) == Principal(
        "default", "data science", None, "ada@example.com", None
    )
    assert await principal(policy, ("x-org", "acme"), ("x-user", " zoë ")) == Principal("acme", user="zoë")


async def test_without_them_nobody_is_named(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, ONLY)
    assert await reason(policy) == "auth.missing"
    assert await reason(policy, ("x-team", "")) == "auth.missing"
    assert await reason(policy, bearer("sk-dummy-of-an-sdk")) == "auth.invalid"


async def test_who_is_not_named_hears_of_the_headers_and_of_no_key(tmp_path: Path) -> None:
    for shown in ((), (bearer("sk-dummy-of-an-sdk"),)):
        verdict = await heard(policy_of(tmp_path, ONLY), *shown)
        assert isinstance(verdict, Reply)
        assert verdict.message == "Nobody is named: the gateway in front sets the header x-org or x-team or x-user."


async def test_a_credential_beside_them_is_none_of_our_business(tmp_path: Path) -> None:
    assert (await principal(policy_of(tmp_path, ONLY), ("x-team", "a"), bearer("sk-dummy-of-an-sdk"))).team == "a"


async def test_one_given_twice_is_refused(tmp_path: Path) -> None:
    assert await reason(policy_of(tmp_path, ONLY), ("x-team", "mine"), ("x-team", "theirs")) == "auth.invalid"


@pytest.mark.parametrize("value", ["a\tb", "a\x7f", "x" * 300, "a}{b", "{other}", "a\u202eb", "\udcff\udcfe"])
async def test_one_that_cannot_name_anything_is_refused(tmp_path: Path, value: str) -> None:
    assert await reason(policy_of(tmp_path, ONLY), ("x-org", value)) == "auth.invalid"


async def test_they_are_stripped_when_another_source_named_the_caller(tmp_path: Path) -> None:
    keep(tmp_path, record())
    caller = Caller(policy_of(tmp_path, KEYS_FIRST), (bearer(SECRET), ("x-team", "spoofed")))
    assert isinstance(await caller.asks("m"), Proceed)
    assert {"x-org", "x-team", "x-user"} <= caller.removed
    assert (await principal(policy_of(tmp_path, KEYS_FIRST), *caller.pairs)).team == "research"


async def test_they_stay_when_they_named_the_caller(tmp_path: Path) -> None:
    caller = Caller(policy_of(tmp_path, ONLY), (("x-team", "research"),))
    assert isinstance(await caller.asks("m"), Proceed)
    assert not {"x-org", "x-team", "x-user"} & caller.removed


async def test_a_revoked_key_is_not_saved_by_them(tmp_path: Path) -> None:
    keep(tmp_path, record(disabled=True))
    assert await reason(policy_of(tmp_path, KEYS_FIRST), bearer(SECRET), ("x-team", "research")) == "auth.invalid"


async def test_an_unknown_key_leaves_the_word_to_them(tmp_path: Path) -> None:
    keep(tmp_path, record())
    assert (await principal(policy_of(tmp_path, KEYS_FIRST), bearer("sk-other"), ("x-team", "a"))).team == "a"
