"""The pool as a process of its own."""

import asyncio
import signal
import sys
from pathlib import Path

import httpx

MODULE = "headrace.ext_proc.cli.simulate"


async def start(*arguments: str) -> tuple[asyncio.subprocess.Process, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", MODULE, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return process, (await process.stdout.readline()).decode()


async def stop(process: asyncio.subprocess.Process) -> int:
    process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        await process.communicate()
    assert process.returncode is not None
    return process.returncode


async def test_it_serves_a_unix_socket_with_its_own_script(tmp_path: Path) -> None:
    path = tmp_path / "pool.sock"
    process, line = await start("--uds", str(path), "--name", "standard", "--model", "tiny", "--script", "tokens=3")
    try:
        assert line == f"standard listens on {path}\n"
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://pool") as client:
            assert (await client.get("/v1/models")).json()["data"][0]["id"] == "tiny"
            answer = await client.post("/v1/responses", json={"model": "tiny", "input": "Hello"})
            assert answer.json()["usage"]["output_tokens"] == 3
    finally:
        assert await stop(process) == 0
    assert not path.exists()


async def test_it_says_which_port_it_took() -> None:
    process, line = await start("--port", "0")
    try:
        url = line.split()[-1]
        async with httpx.AsyncClient(base_url=url) as client:
            assert (await client.get("/books")).json()["entries"] == []
    finally:
        assert await stop(process) == 0


async def test_a_bad_script_is_an_error_of_the_option() -> None:
    process, _ = await start("--script", "speed=3")
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"--script" in errors and b"speed" in errors
