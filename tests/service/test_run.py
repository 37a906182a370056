"""`headrace serve` starts its workers and its admin interface side by side; where one of them cannot be, nothing is left."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.service.admin import AdminError
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.run import serve
from headrace.ext_proc.service.slot import StartError
from tests.service.waiting import children


@pytest.fixture
def options(folder: Path, policy: Path, valkey: str) -> Options:
    return Options(policy=policy, listen=Address(path=str(folder / "worker.sock")), store=valkey, log=folder / "log")


@pytest.fixture
def broken(policy: Path) -> Path:
    policy.write_text("version: 2\n")
    return policy


async def test_an_admin_interface_that_cannot_listen_leaves_no_worker(options: Options) -> None:
    before = set(children(os.getpid()))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        admin = Address(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(AdminError, match=r"cannot listen on 127\.0\.0\.1"):
            await serve(replace(options, admin=admin))
    assert set(children(os.getpid())) <= before


async def test_workers_that_cannot_start_leave_no_admin_interface(options: Options, broken: Path) -> None:
    before = set(children(os.getpid()))
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = Address(host="127.0.0.1", port=free.getsockname()[1])
    with pytest.raises(StartError, match="version"):
        await serve(replace(options, policy=broken, admin=admin))
    with socket.create_server(("127.0.0.1", admin.port)):
        assert set(children(os.getpid())) <= before
