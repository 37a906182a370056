"""A running pool and the SDKs' clients on it."""

from collections.abc import AsyncIterator

import anthropic
import openai
import pytest

from headrace.ext_proc.cli.simulate import SimulatedPool


@pytest.fixture
async def pool() -> AsyncIterator[SimulatedPool]:
    async with SimulatedPool(models=("llama-3.3-70b", "tiny")) as running:
        yield running


@pytest.fixture
async def openai_client(pool: SimulatedPool) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{pool.url}/v1", api_key="none", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
async def anthropic_client(pool: SimulatedPool) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=pool.url, api_key="none", max_retries=0, timeout=30) as client:
        yield client
