"""Workers are forked from a process that has loaded what they need; whatever becomes of that one, there are workers."""

import ctypes
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import pytest

from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.transport import Transport
from headrace.ext_proc.service import starting
from headrace.ext_proc.service.fork_server import ForkServer
from headrace.ext_proc.service.forking import ForkServerProcess
from headrace.ext_proc.service.names import FORK_SERVER
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.slot import Slot, StartError
from headrace.ext_proc.service.starting import Starter
from headrace.ext_proc.service.supervisor import Service
from tests.service.conftest import POLICY
from tests.service.waiting import SERVING, children, health, lives, name, until, workers_of

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)'s."""


@pytest.fixture
def options(folder: Path, policy: Path, valkey: str) -> Options:
    return Options(
        policy=policy, listen=Address(path=str(folder / "worker.sock")), store=valkey, log=folder / "log", drain_seconds=5
    )


@pytest.fixture
async def service(options: Options) -> AsyncIterator[Service]:
    async with Service(replace(options, workers=2)) as service:
        yield service


def parent(pid: int | None) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def write(path: Path, text: str) -> None:
    path.write_text(text)


def fork_server(service: Service) -> int:
    (found,) = [pid for pid in children(os.getpid()) if name(pid) == FORK_SERVER and parent(pid) == os.getpid()]
    assert found == service.starter.pid
    return found


def sockets(pid: int) -> set[str]:
    """Those that a process has open, by inode."""
    opened = (str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir())
    return {one for one in opened if one.startswith("socket:")}


async def replaced(slot: Slot) -> int:
    """Kills the worker; the process id of the next one."""
    killed = slot.pid
    assert killed
    os.kill(killed, signal.SIGKILL)
    await until(lambda: slot.ready and slot.pid != killed, "another worker was ready")
    assert await health(slot.address) == SERVING
    assert slot.pid
    return slot.pid


async def test_workers_are_forked_and_so_are_those_that_replace_them(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(starting, "STATUS_S", 30.0)  # a busy machine lets the fork server wait
    server, (first, second) = fork_server(service), service.slots
    assert [parent(first.pid), parent(second.pid)] == [server, server]
    assert sorted(workers_of(os.getpid())) == sorted([first.pid or 0, second.pid or 0])
    assert {parent(await replaced(first)), parent(await replaced(second))} == {server}
    ended = [record for record in caplog.records if record.message == "worker ended, starting another"]
    assert [vars(record)["why"] for record in ended] == [["worker 0 ended with status -9"], ["worker 1 ended with status -9"]]


async def test_a_forked_worker_has_no_socket_of_another_process(service: Service) -> None:
    first, second = service.slots
    pids = [fork_server(service), await replaced(first), second.pid or 0]
    opened = [sockets(pid) for pid in pids]
    assert all(opened)
    assert len(set.union(*opened)) == sum(map(len, opened))


async def test_workers_serve_on_without_their_fork_server_and_are_replaced(service: Service) -> None:
    before, (first, second) = fork_server(service), service.slots
    pids = first.pid, second.pid
    os.kill(before, signal.SIGKILL)
    await until(lambda: not lives(before), "the fork server ended")
    assert (first.pid, second.pid) == pids
    assert [await health(slot.address) for slot in service.slots] == [SERVING, SERVING]
    assert parent(await replaced(first)) == fork_server(service) != before
    assert second.pid == pids[1]


@pytest.fixture
def first_process() -> Iterator[None]:
    """Orphans become ours, as they become a container's first process's."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@pytest.mark.usefixtures("first_process")
async def test_nothing_is_left_of_a_worker_that_outlived_its_fork_server(service: Service) -> None:
    server, (first, _) = fork_server(service), service.slots
    os.kill(server, signal.SIGKILL)
    await until(lambda: parent(first.pid) == os.getpid(), "the worker was ours")
    orphan = first.pid
    await replaced(first)
    assert orphan
    assert name(orphan) == ""


async def test_a_fork_server_that_hangs_keeps_nobody_from_starting(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starting, "FORK_S", 0.2)
    monkeypatch.setattr(starting, "STATUS_S", 0.1)
    server, (first, _) = fork_server(service), service.slots
    os.kill(server, signal.SIGSTOP)
    assert parent(await replaced(first)) == os.getpid()
    assert not lives(server)


async def test_all_end_with_the_service(options: Options) -> None:
    async with Service(options) as service:
        server, (only,) = fork_server(service), service.slots
        worker = only.pid
    assert worker
    assert not lives(server)
    assert not lives(worker)


@pytest.mark.parametrize("why", ["the transport", "the system"])
async def test_where_no_process_can_be_forked_workers_are_spawned(
    options: Options, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "the transport":
        options = replace(options, transport=Transport.GRPCIO)
    else:
        monkeypatch.setattr(os, "pidfd_open", _refused)
    async with Service(options) as service:
        (only,) = service.slots
        assert service.starter.pid is None
        assert parent(only.pid) == parent(await replaced(only)) == os.getpid()


@pytest.mark.parametrize("transport", Transport)
async def test_modules_in_the_current_directory_are_not_those_of_the_service(
    options: Options, transport: Transport, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "asyncio.py", "raise SystemExit('of the current directory')")
    monkeypatch.chdir(folder)
    async with Service(replace(options, transport=transport)) as service:
        (only,) = service.slots
        assert await health(only.address) == SERVING
        assert (parent(only.pid) == os.getpid()) == (transport is Transport.GRPCIO)


def _refused(pid: int, flags: int = 0, opened: Callable[[int, int], int] = os.pidfd_open) -> int:
    """Whoever asks tries this process first. asyncio, which may have asked before, still gets its children's."""
    if pid == os.getpid():
        raise PermissionError
    return opened(pid, flags)


async def test_a_replaced_worker_has_the_policy_of_now(service: Service, policy: Path) -> None:
    first, second = service.slots
    assert first.policy
    old = first.policy.revision
    write(policy, POLICY.replace("0.60", "0.70"))
    service.reload()
    await until(_follow(service, lambda revision: revision != old), "the workers had the new policy")
    assert second.policy
    new = second.policy.revision
    await replaced(first)
    assert first.policy.revision == new


def _follow(service: Service, wanted: Callable[[str], bool]) -> Callable[[], bool]:
    return lambda: all(slot.policy is not None and wanted(slot.policy.revision) for slot in service.slots)


async def test_a_policy_that_cannot_be_compiled_is_told_by_the_worker(options: Options, policy: Path) -> None:
    write(policy, POLICY.replace("price:", "prise:"))
    service = Service(options)
    with pytest.raises(StartError, match="unknown key; did you mean 'price'"):
        await service.start()
    assert service.starter.pid is None


class Begun(ForkServerProcess):
    """Has no process: the orders are `taken`, by whoever wants to."""

    def __init__(self) -> None:
        self.orders, self.taken = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    @property
    def has_ended(self) -> bool:
        return False

    def close(self) -> None:
        self.orders.close()


@pytest.mark.parametrize("name", ["policy.yaml", "two words.yaml", "\udcff.yaml"])
def test_the_fork_server_makes_ready_and_again_for_each_policy_that_a_worker_has_after_the_first(tmp_path: Path, name: str) -> None:
    server, prepared = Begun(), []
    starter = Starter(tmp_path / name, Gateway.APISIX, Transport.H2, begun=server)
    starter.begin()
    starter.begin()
    for revision in ("first", "first", "second", "second", "third"):
        starter.follow(revision)
    starter.close()
    ForkServer(server.taken, lambda path, gateway: prepared.append((path, gateway)), _never).run()
    assert prepared == [(tmp_path / name, Gateway.APISIX.value)] * 3
    server.taken.close()


async def test_a_fork_server_that_ends_leaves_no_zombie_and_another_is_there_before_a_worker_needs_it(service: Service) -> None:
    before = fork_server(service)
    os.kill(before, signal.SIGKILL)
    await until(lambda: service.starter.pid not in (None, before), "another fork server began")
    assert name(before) == ""
    assert parent(await replaced(service.slots[0])) == fork_server(service)


async def test_a_fork_server_that_dies_before_it_has_forked_is_not_begun_again_and_again(policy: Path) -> None:
    server = ForkServerProcess()
    starter = Starter(policy, Gateway.ENVOY, Transport.H2, begun=server)
    starter.begin()
    os.kill(server.pid, signal.SIGKILL)
    await until(lambda: server.has_ended, "it ended")
    assert starter.pid == server.pid
    starter.begin()
    assert starter.pid not in (None, server.pid)
    starter.close()
    assert starter.pid is None


def test_a_fork_server_that_nobody_needs_is_ended(policy: Path) -> None:
    server = ForkServerProcess()
    Starter(policy, Gateway.ENVOY, Transport.GRPCIO, begun=server).begin()
    assert server.has_ended


def test_a_process_with_threads_is_not_forked() -> None:
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in range(3)]
    (orders, _), (end, ours), (told, says) = pairs
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    ForkServer(orders, _unprepared, _never)._fork(end, told)
    over.set()
    thread.join()
    said, descriptors, _, _ = socket.recv_fds(says, 100, 1)
    assert (said.endswith(b" threads run here"), descriptors) == (True, [])
    assert (says.recv(100), ours.recv(100)) == (b"", b"")  # nobody has the other ends any more
    for one in (one for pair in pairs for one in pair):
        one.close()


def _unprepared(path: Path, gateway: str) -> None:
    raise AssertionError


def _never(end: socket.socket) -> NoReturn:
    raise AssertionError
