"""What `headrace explain` says of a request beside what becomes of it behind the plugin: the verdicts Envoy is held to."""

import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Literal

import httpx
import pytest

from headrace.ext_proc.cli.simulate.server import SimulatedPool
from headrace.ext_proc.core.endpoint import endpoint_of
from tests.apisix.nginx import missing, running_nginx
from tests.apisix.real import HOME
from tests.e2e.envoy_process import short_directory
from tests.e2e.explained import POLICIES, Beside, Verdict, differences_of
from tests.e2e.served import serving
from tests.transcripts.site import WAIT

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(missing()), reason=missing())]

NOT_HERE = ("attempts", "another dialect")
"""Policies that are refused behind APISIX, for what they are about."""


def without_names(policy: Mapping[str, Any]) -> dict[str, Any]:
    """Pools give models no other names behind APISIX."""
    models = [
        {**model, **({"pools": [{**pool, "model": None} for pool in model["pools"]]} if "pools" in model else {})}
        for model in policy["models"]
    ]
    return {**policy, "models": models}


@pytest.mark.parametrize("route", ["plain", "ai"])
@pytest.mark.parametrize("name", [name for name in POLICIES if name not in NOT_HERE])
async def test_what_explain_says_is_what_happens(name: str, route: Literal["plain", "ai"]) -> None:
    if HOME and route == "ai":
        pytest.skip("ai-proxy refuses what is not application/json in words of its own")
    async with AsyncExitStack() as stack:
        folder, sockets = stack.enter_context(short_directory()), stack.enter_context(short_directory())
        pools = [await stack.enter_async_context(SimulatedPool(of)) for of in ("standard", "large")]
        (folder / "pii.key").write_bytes(b"k" * 40)
        upstreams = {"upstreams": {pool.name: {"url": pool.url} for pool in pools}}
        policy = json.dumps(without_names(POLICIES[name]) | upstreams)
        _, ready = await stack.enter_async_context(serving(folder, policy, 1, ("--gateway", "apisix")))
        servers = {pool.name: ("127.0.0.1", httpx.URL(pool.url).port or 80) for pool in pools}
        nginx = await stack.enter_async_context(running_nginx(sockets, {"service": ready["addresses"]}, servers))
        path = httpx.AsyncHTTPTransport(uds=str(getattr(nginx, route)))
        client = await stack.enter_async_context(httpx.AsyncClient(base_url="http://gateway", transport=path, timeout=WAIT))
        beside = Beside(folder / "decisions.jsonl", pools, client, folder / "policy.yaml")
        differences = await differences_of(beside)
    if route == "ai":
        differences = [one for one in differences if not is_refused_by_path(*one)]
    assert differences == []


def is_refused_by_path(path: str, _: Any, enforced: Verdict, __: Verdict) -> bool:
    """ai-proxy is for calls: explain, which knows of no route, lets other paths pass."""
    return endpoint_of("POST", path, has_body=True) is None and enforced.status == 404 and not enforced.steps
