"""`identity: - gateway: {}`: callers the gateway in front has authenticated itself and vouches for beside the request."""

from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.principal import PRINCIPAL, Principal
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.verdict import Continue, Reply, Verdict
from tests.filters.identity.support import link, policy_of

VOUCHED = "identity: [{gateway: {}}]"


async def heard(directory: Path, vouched: Any, *pairs: tuple[str, str], identity: str = VOUCHED) -> Verdict:
    """What the filter says of a request that the gateway says `vouched` of."""
    request = Request("e1", Headers(pairs), None)
    request.vouched = vouched
    session = link(policy_of(directory, identity)).filter.open(request)
    assert session is not None
    return await session.on_headers(request)


async def test_the_parts_that_the_gateway_names_are_the_principal(tmp_path: Path) -> None:
    told = {"organisation": "acme", "team": "research", "app": "chat", "user": "ada", "key": "key-1"}
    verdict = await heard(tmp_path, told)
    assert isinstance(verdict, Continue)
    assert verdict.facts[PRINCIPAL] == Principal("acme", "research", "chat", "ada", "key-1")
    assert verdict.reason == "identity.gateway"


async def test_parts_that_it_does_not_name_are_absent_and_what_else_it_says_is_nothing(tmp_path: Path) -> None:
    verdict = await heard(tmp_path, {"user": "ada", "team": "", "colour": "red"})
    assert isinstance(verdict, Continue)
    assert verdict.facts[PRINCIPAL] == Principal(user="ada")


@pytest.mark.parametrize("vouched", [None, {}, {"user": ""}, {"colour": "red"}, "ada", ["ada"], 7])
async def test_who_is_not_vouched_for_is_nobody_whatever_headers_say(vouched: Any, tmp_path: Path) -> None:
    verdict = await heard(tmp_path, vouched, ("headrace.identity", "ada"), ("x-consumer-username", "ada"))
    assert isinstance(verdict, Reply)
    assert verdict.reason == "auth.missing"


@pytest.mark.parametrize("part", [7.0, True, ["ada"], {"name": "ada"}, "a\nb", "{x}", "u" * 257])
async def test_what_can_name_nobody_is_refused(part: Any, tmp_path: Path) -> None:
    verdict = await heard(tmp_path, {"team": "research", "user": part})
    assert isinstance(verdict, Reply)
    assert verdict.reason == "auth.invalid"


async def test_the_next_source_is_asked_where_the_gateway_says_nothing(tmp_path: Path) -> None:
    both = "identity: [{gateway: {}}, {headers: {user: x-user}}]"
    verdict = await heard(tmp_path, None, ("x-user", "bob"), identity=both)
    assert isinstance(verdict, Continue)
    assert verdict.facts[PRINCIPAL] == Principal(user="bob")


async def test_a_trusted_header_goes_no_further_where_the_gateway_has_named_the_caller(tmp_path: Path) -> None:
    both = "identity: [{gateway: {}}, {headers: {user: x-user}}]"
    verdict = await heard(tmp_path, {"user": "ada"}, ("x-user", "bob"), identity=both)
    assert isinstance(verdict, Continue)
    assert verdict.facts[PRINCIPAL] == Principal(user="ada")
    assert "x-user" in verdict.edits.remove_headers
