"""What `headrace explain` says of a request beside what becomes of it behind real Envoy: one verdict, under many policies."""

import json

import httpx
import pytest

from headrace.ext_proc.cli.simulate.server import SimulatedPool
from headrace.ext_proc.service.stack import Stack, StackOptions
from tests.e2e.envoy_process import short_directory
from tests.e2e.explained import OF_UPSTREAMS, POLICIES, Beside, differences_of
from tests.transports import Chosen

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("name", POLICIES)
async def test_what_explain_says_is_what_happens(name: str) -> None:
    with short_directory() as folder:
        async with SimulatedPool("standard") as standard, SimulatedPool("large") as large:
            urls = {"standard": {"url": standard.url}, "large": {"url": large.url}}
            upstreams = {of: one | OF_UPSTREAMS.get(name, {}).get(of, {}) for of, one in urls.items()}
            (folder / "pii.key").write_bytes(b"k" * 40)
            path = folder / "policy.yaml"
            path.write_text(json.dumps(POLICIES[name] | {"upstreams": upstreams}))
            async with Stack(path, StackOptions(transport=Chosen.now)) as stack, httpx.AsyncClient(base_url=stack.url) as client:
                differences = await differences_of(Beside(stack.decisions_path, (standard, large), client, path))
    assert differences == []
