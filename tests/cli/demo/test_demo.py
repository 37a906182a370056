"""`headrace demo` from end to end: real Envoy, the service, Valkey, the OpenAI SDK."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

HEADRACE = Path(sys.executable).with_name("headrace")
PERSONAL = ("ada.lovelace@example.com", "4111 1111 1111 1111", "+44 20 7946 0958")

pytestmark = pytest.mark.e2e


def demo(directory: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TMPDIR": str(directory)}
    command = (str(HEADRACE), "demo", "--port", "0", *options)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)


def left_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    directory = tmp_path_factory.mktemp("demo")
    done = demo(directory, "--json")
    assert done.returncode == 0, done.stderr
    assert left_in(directory) == []
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def scene(found: dict[str, Any], name: str) -> dict[str, Any]:
    exchange: dict[str, Any] = next(one for one in found["exchanges"] if one["scene"] == name)
    return exchange


def test_everything_happened_as_it_should(found: dict[str, Any]) -> None:
    assert found["as_expected"]
    statuses = {one["scene"]: one["client"]["status"] for one in found["exchanges"]}
    assert statuses == {"chat": 200, "stream": 200, "long": 200, "pii": 200, "model": 403, "key": 401}


@pytest.mark.parametrize(("name", "pool"), [("chat", "standard"), ("stream", "standard"), ("long", "high-memory")])
def test_a_prompt_goes_to_the_first_pool_that_holds_it(found: dict[str, Any], name: str, pool: str) -> None:
    exchange = scene(found, name)
    assert exchange["upstream"]["pool"] == exchange["client"]["headers"]["x-headrace-route"] == pool
    assert exchange["decision"]["input_tokens"] == exchange["upstream"]["prompt_tokens"]


def test_an_admitted_chat_is_settled_with_the_pools_own_count(found: dict[str, Any]) -> None:
    for name in ("chat", "stream", "long", "pii"):
        exchange = scene(found, name)
        usage, upstream = exchange["settlement"]["usage"], exchange["upstream"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (upstream["prompt_tokens"], upstream["completion_tokens"])


def test_the_upstream_sees_neither_keys_nor_personal_data_nor_our_headers(found: dict[str, Any]) -> None:
    for exchange in (*found["exchanges"], *found["burst"]["exchanges"]):
        if upstream := exchange["upstream"]:
            names = {name for name, _ in upstream["headers"]}
            assert not names & {"authorization", "x-api-key"} and not any(name.startswith("x-headrace") for name in names)
    pii = scene(found, "pii")
    assert not any(personal in pii["upstream"]["body"] for personal in PERSONAL)
    assert all(personal in pii["client"]["text"] for personal in PERSONAL)


def test_what_nobody_changed_arrives_byte_for_byte(found: dict[str, Any]) -> None:
    assert scene(found, "chat")["upstream"]["body_unchanged"]
    assert not scene(found, "pii")["upstream"]["body_unchanged"]


def test_a_refusal_reaches_no_upstream_and_reserves_nothing(found: dict[str, Any]) -> None:
    for name in ("model", "key"):
        exchange = scene(found, name)
        assert exchange["upstream"] is None and exchange["settlement"] is None
        assert exchange["client"]["code"] == exchange["decision"]["reason"]


def test_a_cent_admits_exactly_the_requests_it_is_worth(found: dict[str, Any]) -> None:
    burst = found["burst"]
    admitted = next(one for one in burst["exchanges"] if one["client"]["status"] == 200)
    budget = next(step for step in admitted["decision"]["steps"] if step["filter"] == "budget")["note"]["budgets"][1]
    assert burst["admitted"] == 10_000_000 // budget["reserved"] == 7
    assert burst["refused"] == burst["sent"] - 7
    ledger = {(counter["caller"], counter["unit"]): counter["used"] for counter in found["ledger"]}
    assert ledger["grace", "tokens"] == burst["upstream_tokens"]


def test_it_reads_well_without_a_terminal(tmp_path: Path) -> None:
    done = demo(tmp_path, "--once")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert max(len(line.rstrip()) for line in done.stdout.splitlines() if "/" not in line) <= 100
    assert "7 of 20 admitted" in done.stdout and "UNEXPECTED" not in done.stdout
    assert re.search(r"<EMAIL_ADDRESS_\w+>", done.stdout)
    assert "settlement" in done.stderr


async def test_it_stays_up_for_curl_and_ends_on_a_signal(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        HEADRACE, "demo", "--port", "0", env=os.environ | {"TMPDIR": str(tmp_path)}, stdout=-1, stderr=asyncio.subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(90):
            shown = (await process.stdout.readuntil(b"/books | tail")).decode()
        url, key = re.findall(r"http://\S+", shown)[0], re.findall(r"KEY=(\S+)", shown)[0]
        chat = {"model": "llama-3.3-70b", "messages": [{"role": "user", "content": "Hello"}]}
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {key}"}) as client:
            assert (await client.post("/v1/chat/completions", json=chat)).status_code == 200
        ((admin, token),) = re.findall(r"(http://\S+)/console, token (\S+)", shown)
        async with httpx.AsyncClient(base_url=admin, headers={"authorization": f"Bearer {token}"}) as client:
            assert (await client.get("/api/v1/caller")).status_code == 200
    finally:
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(30):
            await process.communicate()
    assert process.returncode == 0
    assert left_in(tmp_path) == []
