"""`headrace up`: the whole stack from one command, and nothing of it left afterwards."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from headrace.ext_proc.cli.simulate import SimulatedPool
from tests.e2e.envoy_process import short_directory
from tests.e2e.served import HEADRACE
from tests.service.waiting import children, lives, until

pytestmark = pytest.mark.e2e

POLICY = """version: 1
upstreams:
  standard: {url: "URL"}
models:
  - {name: llama-3.3-70b, price: {input: 0.6, output: 0.8}, pools: [{upstream: standard}]}
identity: [{headers: {team: x-team}}]
filters:
  - identity: {}
  - routing: {}
"""


@asynccontextmanager
async def up(folder: Path, policy: str, *options: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The command, with its temporary files in `folder`/tmp."""
    path = folder / "policy.yaml"
    path.write_text(policy)
    (folder / "tmp").mkdir()
    process = await asyncio.create_subprocess_exec(
        *HEADRACE, "up", str(path), "--port", "0", *options,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=os.environ | {"TMPDIR": str(folder / "tmp")},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def greeting(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readuntil(b"Ctrl-C ends everything.")).decode()


def files(folder: Path) -> list[Path]:
    return list((folder / "tmp").iterdir())


async def test_it_serves_what_it_says_and_ctrl_c_leaves_nothing() -> None:
    with short_directory() as folder:
        async with SimulatedPool("standard") as pool, up(folder, POLICY.replace("URL", pool.url)) as process:
            said = await greeting(process)
            url = re.search(r"curl (\S+)", said)
            body = re.search(r"-d '(.+)'", said)
            assert url is not None
            assert body is not None
            headers = dict(re.findall(r"-H '(\S+): (\S+)'", said))
            async with httpx.AsyncClient() as client:
                answer = await client.post(url[1], content=body[1], headers=headers)
            assert (answer.status_code, answer.headers["x-headrace-route"]) == (200, "standard")
            pids = children(process.pid)
            process.send_signal(signal.SIGINT)
            assert await process.wait() == 0
            assert len(pids) >= 3  # Envoy, a worker, Valkey
            assert not any(map(lives, pids))
            await until(lambda: files(folder) == [], "every temporary file was gone")


async def test_a_policy_that_is_changed_is_told_and_so_is_what_is_wrong_with_it() -> None:
    with short_directory() as folder:
        async with SimulatedPool("standard") as pool, up(folder, POLICY.replace("URL", pool.url)) as process:
            await greeting(process)
            assert process.stdout is not None
            assert process.stderr is not None
            (folder / "policy.yaml").write_text(POLICY.replace("URL", pool.url) + "other_paths: refuse\n")
            assert re.match(rb"\npolicy     [0-9a-f]{12} is in force\n", await process.stdout.readuntil(b"in force\n"))
            (folder / "policy.yaml").write_text(POLICY + "other: refuse\n")
            assert (await process.stdout.readuntil(b"in force\n")).endswith(b" stays in force\n")
            assert b": other: unknown key; did you mean 'other_paths'?" in await process.stderr.readuntil(b"?\n")


async def test_a_kill_leaves_no_process() -> None:
    with short_directory() as folder:
        async with SimulatedPool("standard") as pool, up(folder, POLICY.replace("URL", pool.url)) as process:
            await greeting(process)
            pids = children(process.pid)
            process.kill()
            await until(lambda: not any(map(lives, pids)), "every process ended")


async def test_a_policy_without_upstreams_is_said() -> None:
    with short_directory() as folder:
        async with up(folder, "version: 1\n") as process:
            _, errors = await process.communicate()
            assert process.returncode == 1
            assert errors.decode().strip().endswith("there are no upstreams to send requests to; add them under upstreams")
            assert files(folder) == []


async def test_a_port_in_use_is_said_and_nothing_is_left() -> None:
    with short_directory() as folder:
        async with SimulatedPool("standard") as pool:
            port = pool.url.rpartition(":")[2]
            async with up(folder, POLICY.replace("URL", pool.url), "--port", port) as process:
                _, errors = await process.communicate()
                assert process.returncode == 1
                assert "cannot listen on 127.0.0.1" in errors.decode()
                await until(lambda: files(folder) == [], "every temporary file was gone")
