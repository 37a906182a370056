"""The console of a running service: what it knows of workers and policies, and where it is served."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from headrace.ext_proc.admin.console import counts
from headrace.ext_proc.admin.tokens import ROSTER, Role, fresh_token
from headrace.ext_proc.engine.policy.compile import revision_of
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.run import administered
from headrace.ext_proc.service.supervisor import Service
from tests.service.test_admin_api import asked
from tests.service.waiting import until

POLICY = """version: 1
models:
  - {name: llama, price: {input: 1, output: 1}}
audit: {directory: audit}
filters:
  - usage: {}
"""


@pytest.fixture
def options(folder: Path, valkey: str, monkeypatch: pytest.MonkeyPatch) -> Options:
    monkeypatch.setattr(counts, "TICK_S", 0.1)
    (folder / "policy.yaml").write_text(POLICY)
    listen, admin = Address(path=str(folder / "run" / "worker.sock")), Address(host="127.0.0.1", port=0)
    return Options(policy=folder / "policy.yaml", listen=listen, store=valkey, admin=admin, log=folder / "log", drain_seconds=5)


@asynccontextmanager
async def logged_in(options: Options) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    service = Service(options)
    async with administered(service) as admin, service:
        assert admin is not None
        now = datetime.now(UTC)
        fresh = fresh_token("ada", [Role.OPERATOR], now, now + timedelta(hours=1), "test")
        await service.store.enrol(ROSTER, fresh.record.id, fresh.record.packed())
        async with httpx.AsyncClient(base_url=admin.url, follow_redirects=True) as client:
            page = (await client.get("/console")).text
            word = re.search(r'name="csrf" value="(\w+)"', page)
            assert word, page
            await client.post("/console/login", data={"csrf": word[1], "token": fresh.secret})
            yield service, client


async def test_a_policy_that_comes_into_force_and_one_that_is_refused_are_told(options: Options) -> None:
    async with logged_in(replace(options, workers=2)) as (_, client):

        async def shows(*said: str) -> bool:
            page = (await client.get("/console/policy")).text
            return all(one in page for one in said)

        first = revision_of(POLICY.encode(), [])
        await until(lambda: shows(f"<p><code>{first}</code>", "Worker 1"), "the first policy")
        options.policy.write_text(POLICY.replace("input: 1", "input: 3"))
        await until(lambda: shows("model llama: price.input from 1 to 3"), "what the new policy changes")
        options.policy.write_text("version: 1\nnothing: <b>\n")
        await until(lambda: shows("was refused", "policy.yaml:2: nothing"), "what is wrong with the last one")


async def test_decisions_of_a_service_without_a_decision_log_are_in_its_audit_log(options: Options) -> None:
    async with logged_in(options) as (service, client):
        await asked(service.addresses[0], "nobody")

        async def shown() -> bool:
            return "llama" in (await client.get("/console/decisions")).text

        await until(shown, "the decision")


async def test_a_defect_is_a_page_that_says_so_and_a_word_in_the_log(
    options: Options, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR, "uvicorn.error")  # simulated pools of other tests silence it
    async with logged_in(options) as (service, client):
        monkeypatch.setattr(service, "slots", None)
        page = await client.get("/console/")
        monkeypatch.undo()
        assert (page.status_code, "defect of Headrace" in page.text, "TypeError" in page.text) == (500, True, False)
        assert any(record.exc_info for record in caplog.records)


async def test_where_others_could_listen_the_console_is_off(options: Options) -> None:
    service = Service(replace(options, admin=Address(host="0.0.0.0", port=0)))
    async with administered(service) as admin, service:
        assert admin is not None
        async with httpx.AsyncClient(base_url=admin.url.replace("0.0.0.0", "127.0.0.1")) as client:
            for path in ("/console/", "/console/login", "/console/static/console.css"):
                page = await client.get(path)
                assert (page.status_code, "--admin-tls-cert" in page.text) == (403, True)
