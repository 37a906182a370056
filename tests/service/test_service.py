"""The service as processes: started, watched, reloaded, drained; without a gateway."""

import asyncio
import contextlib
import os
import select
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic
from types import SimpleNamespace
from typing import Any

import grpc.aio
import httpx
import pytest

from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.engine.keys import PEPPER_VARIABLE
from headrace.ext_proc.envoy import processor
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.transport import Tls
from headrace.ext_proc.service import connections, slot, store_check
from headrace.ext_proc.service.admin import Admin, AdminError
from headrace.ext_proc.service.control import Channel, Drain
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.run import administered
from headrace.ext_proc.service.slot import StartError
from headrace.ext_proc.service.store_check import check, warn_of_eviction
from headrace.ext_proc.service.supervisor import Service
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.ext_proc.telemetry.samples import Sample
from tests.envoy.h2.certificates import Authority
from tests.service.conftest import POLICY
from tests.service.waiting import DEADLINE_S, SERVING, health, lives, until, workers_of
from tests.stores.servers import free_ports

ANY_PORT = Address(host="127.0.0.1", port=0)


@pytest.fixture
def options(folder: Path, policy: Path, valkey: str) -> Options:
    return Options(
        policy=policy,
        listen=Address(path=str(folder / "run" / "worker.sock")),
        store=valkey,
        admin=ANY_PORT,
        log=folder / "log",
        drain_seconds=5,
    )


@asynccontextmanager
async def running(options: Options) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """The service, and a client of its admin interface."""
    service = Service(options)
    async with administered(service) as admin, service:
        assert admin is not None
        async with httpx.AsyncClient(base_url=admin.url) as client:
            yield service, client


def mode(address: str) -> int:
    return Path(address.removeprefix("unix:")).stat().st_mode & 0o777


def inode(address: str) -> int:
    return Path(address.removeprefix("unix:")).stat().st_ino


def listed(path: Path) -> list[Path]:
    return list(path.iterdir())


def lead(place: Path, url: str) -> None:
    """Make `place` lead to the server at `url`."""
    place.symlink_to(url.removeprefix("unix://"))


def make_directory(path: Path) -> None:
    path.mkdir()


def write(path: Path, text: str) -> None:
    path.write_text(text)


async def json_of(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(path)).json()
    return found


async def test_workers_serve_each_at_its_own_address_and_end_with_the_service(options: Options, folder: Path) -> None:
    async with running(replace(options, workers=2)) as (service, _):
        assert service.addresses == [f"unix:{folder}/run/worker-{number}.sock" for number in range(2)]
        assert [await health(address) for address in service.addresses] == [SERVING, SERVING]
        pids = [slot.pid for slot in service.slots]
        modes = [mode(address) for address in service.addresses]
    assert modes == [0o600, 0o600]
    assert not any(lives(pid) for pid in pids if pid)
    assert listed(folder / "run") == []


async def test_another_user_s_gateway_is_let_in_where_the_operator_says_so(options: Options) -> None:
    async with running(replace(options, socket_mode=0o660)) as (service, _):
        assert mode(service.addresses[0]) == 0o660


async def test_a_worker_that_is_killed_is_started_again_and_leaves_the_other_alone(options: Options) -> None:
    async with running(replace(options, workers=2)) as (service, client):
        first, second = service.slots
        killed, other = first.pid, second.pid
        assert killed
        os.kill(killed, signal.SIGKILL)
        await until(lambda: first.vacant or first.restarts > 0, "the worker's end was noticed")
        assert await health(first.address) == SERVING  # the other one's answer
        await until(lambda: first.ready and first.pid != killed, "another worker was ready")
        assert await health(first.address) == SERVING
        assert inode(first.address) != inode(second.address)
        assert second.pid == other
        assert 'headrace_worker_restarts_total{worker="0"} 1.0' in (await client.get("/metrics")).text


async def test_a_worker_that_hangs_is_ended_and_started_again(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "CHECK_S", 0.05)
    monkeypatch.setattr(slot, "SILENT_S", 1.0)
    async with running(options) as (service, _):
        (only,) = service.slots
        hanging = only.pid
        assert hanging
        os.kill(hanging, signal.SIGSTOP)
        await until(lambda: only.ready and only.pid != hanging, "another worker was ready")
        assert not lives(hanging)


async def test_a_worker_that_drains_does_not_seem_to_hang(
    options: Options, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(slot, "CHECK_S", 0.05)
    monkeypatch.setattr(slot, "SILENT_S", 1.0)
    service = Service(replace(options, drain_seconds=60))
    await service.start()
    (only,) = service.slots
    async with grpc.aio.insecure_channel(only.address) as channel:
        call: Any = channel.stream_stream(processor.METHOD)()
        await call.wait_for_connection()
        await until(lambda: _active(only.samples) == 1, "the stream was open")
        stopping = asyncio.create_task(service.stop(notice=False))
        silence_over = monotonic() + 1.5
        await until(lambda: only._heard > silence_over, "it reported long after the order to drain")
        assert not stopping.done()
        call.cancel()
    await stopping
    assert "hangs" not in caplog.text


async def test_a_worker_that_has_drained_is_no_alert_while_another_drains(options: Options) -> None:
    service = Service(replace(options, workers=2, drain_seconds=60))
    await service.start()
    first, second = service.slots
    async with grpc.aio.insecure_channel(first.address) as channel:
        call: Any = channel.stream_stream(processor.METHOD)()
        await call.wait_for_connection()
        await until(lambda: _streams(service, 1), "the stream was open")
        stopping = asyncio.create_task(service.stop(notice=False))
        await until(lambda: not second.ready, "the worker without streams had drained")
        told, _ = await service.metrics()
        assert [line for line in told.decode().splitlines() if line.startswith("headrace_worker_ready")] == [
            'headrace_worker_ready{worker="0"} 1.0'
        ]
        call.cancel()
    await stopping


async def _streams(service: Service, count: int) -> bool:
    told, _ = await service.metrics()
    return f"headrace_active_streams {count}.0" in told.decode()


def _active(samples: Sequence[Sample]) -> float | None:
    return next((sample.value for sample in samples if sample.name == "headrace_active_streams"), None)


async def test_a_worker_that_cannot_start_again_says_why(options: Options, policy: Path) -> None:
    async with running(replace(options, workers=2)) as (service, client):
        write(policy, POLICY.replace("price:", "prise:"))
        pid = service.slots[0].pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: bool(service.slots[0].failed), "the worker failed to start")
        answer = await json_of(client, "/policy")
        assert answer["problems"] == [f"{policy}:4: models[0].prise: unknown key; did you mean 'price'?"]
        assert (answer["workers"]["0"], len(answer["revisions"])) == (None, 1)
        assert (await client.get("/readyz")).json()["workers"] == {"0": False, "1": True}
        write(policy, POLICY)
        await until(lambda: service.slots[0].ready, "the worker was ready again")


async def test_what_a_killed_worker_counted_stays(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot, "CHECK_S", 0.05)
    failures = "headrace_policy_reload_failures_total"
    async with running(options) as (service, client):
        (only,) = service.slots
        write(options.policy, "nonsense: [")
        service.reload()
        await until(lambda: _counted(only.samples, failures), "the failure was counted")
        write(options.policy, POLICY)
        pid = only.pid
        assert pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: only.ready and only.pid != pid, "another worker was ready")
        assert f"{failures} 1.0" in (await client.get("/metrics")).text


def _counted(samples: Sequence[Sample], name: str) -> bool:
    return any(sample.name == name and sample.value == 1 for sample in samples)


async def test_a_store_in_memory_is_refused_for_several_workers(options: Options) -> None:
    with pytest.raises(StartError, match="one worker's own"):
        await Service(replace(options, store="memory://", workers=2)).start()


BUDGETS = "budgets:\n  - {name: day, per: [organisation], limit: {tokens: 1000}, window: day}\n"
BUDGETED = POLICY.replace("filters:\n", f"{BUDGETS}filters:\n  - budget: {{}}\n")


async def test_readiness_says_what_is_not_ready(options: Options, policy: Path) -> None:
    write(policy, BUDGETED)
    async with running(options) as (service, client):
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        await service.store.close()
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["workers"], answer.json()["ready"]) == (503, {"0": True}, False)
        assert "closed" in answer.json()["store"]
        assert answer.json()["store_needed"]
        assert (await client.get("/healthz")).status_code == 200


@pytest.mark.parametrize("settings", ["on_store_down: open", "on_store_down: local", "mode: shadow", "mode: off"])
async def test_a_policy_that_serves_without_the_store_is_ready_without_it(settings: str, options: Options, policy: Path) -> None:
    write(policy, BUDGETED.replace("budget: {}", f"budget: {{{settings}}}"))
    async with running(options) as (service, client):
        await service.store.close()
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["ready"], answer.json()["store_needed"]) == (200, True, False)
        assert "closed" in answer.json()["store"]


KEYED = "identity:\n  - api_keys: {store: true}\n"


@pytest.mark.parametrize(("identity", "needed"), [(KEYED, True), (f"{KEYED}  - headers: {{user: x-user}}\n", False)])
async def test_callers_whom_only_the_stores_keys_name_need_it(
    identity: str, needed: bool, options: Options, policy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PEPPER_VARIABLE, "ab" * 32)
    write(policy, POLICY.replace("filters:\n", f"{identity}filters:\n  - identity: {{}}\n"))
    async with running(options) as (_, client):
        assert (await json_of(client, "/readyz"))["store_needed"] is needed


async def test_a_bad_policy_is_reported_and_the_last_good_one_stays(options: Options, policy: Path) -> None:
    async with running(options) as (service, client):
        before = await json_of(client, "/policy")
        write(policy, POLICY.replace("price:", "prise:"))
        service.reload()
        await until(lambda: _has_problems(client), "the problem was reported")
        after = await json_of(client, "/policy")
        assert after["revisions"] == before["revisions"]
        assert after["workers"]["0"]["loaded_at"] == before["workers"]["0"]["loaded_at"]
        assert after["problems"] == [f"{policy}:4: models[0].prise: unknown key; did you mean 'price'?"]
        told = (await client.get("/metrics")).text
        assert "headrace_policy_reload_failures_total 1.0" in told
        assert 'headrace_policy_refused{worker="0"} 1.0' in told
        write(policy, POLICY.replace("0.60", "0.70"))
        service.reload()
        await until(lambda: _revision_changed(client, before), "the good policy was taken")
        assert 'headrace_policy_refused{worker="0"} 0.0' in (await client.get("/metrics")).text
        assert (await json_of(client, "/policy"))["problems"] == []
        assert (await json_of(client, "/policy"))["workers"]["0"]["loaded_at"] > before["workers"]["0"]["loaded_at"]


async def test_a_store_that_is_away_is_an_error_also_while_nobody_asks(options: Options) -> None:
    nowhere = replace(options, store=f"redis://127.0.0.1:{free_ports(1)[0]}")
    async with running(nowhere) as (_, client):

        async def counted() -> bool:
            told = (await client.get("/metrics")).text
            return float(told.partition('headrace_store_errors_total{operation="time"} ')[2].partition("\n")[0]) > 1

        await until(counted, "the store's clock could not be read, and that was counted")


async def test_a_workers_certificate_is_read_anew_on_reload(options: Options, folder: Path) -> None:
    authority = Authority(folder)
    listen = Address(host="127.0.0.1", port=0)
    async with running(replace(options, listen=listen, tls=Tls(*authority.issue("worker")))) as (service, client):
        at = ("127.0.0.1", int(service.addresses[0].rpartition(":")[2]))

        async def shown() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, at)

        async def renewed() -> bool:
            return await shown() != before

        async def refused() -> bool:
            return 'headrace_certificate_refused{listener="0"} 1.0' in (await client.get("/metrics")).text

        before, pid = await shown(), service.slots[0].pid
        (folder / "worker.key").write_text("half")
        service.reload()
        await until(refused, "a key that cannot be used was told of")
        authority.issue("worker")
        service.reload()
        await until(renewed, "the certificate that is in the files now")
        assert service.slots[0].pid == pid
        assert not await refused()
        assert 'headrace_certificate_not_after_timestamp_seconds{listener="0"} 1.' in (await client.get("/metrics")).text


async def _has_problems(client: httpx.AsyncClient) -> bool:
    return bool((await json_of(client, "/policy"))["problems"])


async def _revision_changed(client: httpx.AsyncClient, before: dict[str, Any]) -> bool:
    return bool((await json_of(client, "/policy"))["revisions"] != before["revisions"])


async def test_a_bad_policy_keeps_the_service_from_starting_and_is_said_once(options: Options, policy: Path) -> None:
    write(policy, POLICY.replace("price:", "prise:"))
    with pytest.raises(StartError) as failed:
        await Service(replace(options, workers=2)).start()
    assert failed.value.lines == [f"{policy}:4: models[0].prise: unknown key; did you mean 'price'?"]


async def test_a_service_starts_while_the_store_is_away_and_says_so(
    options: Options, policy: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(policy, BUDGETED)
    place = folder / "store"
    async with running(replace(options, store=f"unix://{place}")) as (service, client):
        assert await health(service.addresses[0]) == SERVING
        assert (await client.get("/readyz")).status_code == 503
        (line,) = [record for record in caplog.records if record.message == "starting without the store"]
        assert vars(line)["detail"].startswith("cannot connect to the store: ")
        lead(place, options.store)
        await until(lambda: _is_ready(client), "the store was found")


async def _is_ready(client: httpx.AsyncClient) -> bool:
    return (await client.get("/readyz")).status_code == 200


class Refusing(MemoryStore):
    def __init__(self, reply: str) -> None:
        super().__init__()
        self._reply = reply

    async def ping(self) -> None:
        raise StoreUnavailable(f"the store refused: {self._reply}")


@pytest.mark.parametrize(
    "reply", ["OOM command not allowed when used memory > 'maxmemory'.", "READONLY You can't write against a read only replica."]
)
async def test_a_store_that_somebody_will_look_after_lets_the_service_start(reply: str) -> None:
    await check(Refusing(reply))


@pytest.mark.parametrize("reply", ["ERR unknown command 'FCALL'", "NOPERM this user has no permissions to run the 'fcall' command"])
async def test_a_store_that_will_never_do_keeps_the_service_from_starting(reply: str) -> None:
    with pytest.raises(StartError, match="is it new enough"):
        await check(Refusing(reply))


class Evicting(MemoryStore):
    """Says what is in `says`, one after the other."""

    def __init__(self, *says: str | None) -> None:
        super().__init__()
        self._says = list(says)

    async def evicts(self) -> str:
        if (told := self._says.pop(0)) is None:
            raise StoreUnavailable("cannot connect to the store")
        return told


@pytest.mark.parametrize(
    ("store", "told"),
    [
        (Evicting("allkeys-lru"), ["allkeys-lru"]),
        (Evicting(None, None, "volatile-lru"), ["volatile-lru"]),
        (Evicting(""), []),
        (MemoryStore(), []),
    ],
    ids=["it may", "it is away at first", "it may not", "a store in memory"],
)
async def test_a_store_that_may_drop_budgets_is_warned_of(
    store: MemoryStore, told: list[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_check, "AGAIN_S", 0.0)
    await warn_of_eviction(store)
    assert [vars(record)["policy"] for record in caplog.records] == told
    assert all("maxmemory-policy" in record.message for record in caplog.records)


async def test_an_address_in_use_keeps_the_service_from_starting_and_its_workers_end(
    options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "TAKEN_S", 0.2)
    with socket.socket(socket.AF_UNIX) as other:
        make_directory(folder / "run")
        other.bind(str(folder / "run" / "worker-1.sock"))
        other.listen()
        service = Service(replace(options, workers=2))
        with pytest.raises(StartError, match=r"worker-1\.sock: another process listens there"):
            await service.start()
    assert [slot.pid for slot in service.slots] == [None, None]
    assert await health(f"unix:{folder}/run/worker-0.sock") is None


async def test_a_service_waits_for_who_leaves_its_address(options: Options, folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        make_directory(folder / "run")
        other.bind(str(folder / "run" / "worker-1.sock"))
        other.listen()
        service = Service(replace(options, workers=2))
        starting = asyncio.create_task(service.start())
        await until(lambda: _asked(other), "the address was tried")
    await starting
    assert await health(f"unix:{folder}/run/worker-1.sock") == SERVING
    await service.stop()


def _asked(listening: socket.socket) -> bool:
    """Whether somebody has connected."""
    return bool(select.select([listening], [], [], 0)[0])


async def test_a_decision_log_that_cannot_be_written_keeps_the_service_from_starting(options: Options, folder: Path) -> None:
    with pytest.raises(StartError, match=r"the decision log .* cannot be written: No such file or directory"):
        await Service(replace(options, decisions=str(folder / "none" / "x"))).start()


async def test_an_admin_address_in_use_is_said(options: Options) -> None:
    service = Service(options)
    with socket.create_server(("127.0.0.1", 0)) as other:
        admin = Admin(service, Address(host="127.0.0.1", port=other.getsockname()[1]))
        with pytest.raises(AdminError, match="address already in use"):
            await admin.start()
    await service.kill()


REQUEST = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
SLOW = REQUEST[:-2] + b"x: " + b"x" * 200
KEPT_WAITING = {
    "nothing": (b"", b""),
    "half a request": (b"", SLOW),
    "a request and half another": (REQUEST, SLOW),
    "a body that nobody reads": (REQUEST.replace(b"GET", b"POST")[:-2] + b"content-length: 1000\r\n\r\n", b"x" * 200),
}
"""What a client says at first, and then a byte at a time."""


@pytest.mark.parametrize(("first", "then"), KEPT_WAITING.values(), ids=KEPT_WAITING)
async def test_a_connection_that_keeps_the_admin_interface_waiting_is_ended(
    first: bytes, then: bytes, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "ASKING_S", 0.2)
    async with running(options) as (_, client):
        await asyncio.to_thread(_drip, client.base_url, first, then)
        assert (await client.get("/healthz")).status_code == 200


def _drip(url: httpx.URL, first: bytes, then: bytes) -> None:
    """Until the server has ended the connection."""
    with socket.create_connection((url.host, url.port), timeout=0.05) as line, contextlib.suppress(ConnectionError):
        line.sendall(first)
        for at in range(200):
            with contextlib.suppress(TimeoutError):
                if not line.recv(4096):
                    return
            line.sendall(then[at : at + 1])
        pytest.fail("it was not ended")


async def test_a_connection_that_does_not_take_its_answers_is_ended(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "TAKING_S", 0.2)
    async with running(options) as (_, client):
        reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port, limit=1)
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(DEADLINE_S):
                while True:
                    writer.write(REQUEST.replace(b"/healthz", b"/api/v1/openapi.json") * 100)
                    await writer.drain()
        assert not reader.at_eof()
        assert (await client.get("/healthz")).status_code == 200


async def test_tcp_workers_take_free_ports_and_say_which(options: Options) -> None:
    async with running(replace(options, listen=ANY_PORT, workers=2)) as (service, _):
        first, second = service.addresses
        assert first != second
        assert [await health(first), await health(second)] == [SERVING, SERVING]


async def test_a_supervisor_that_is_gone_takes_its_workers_with_it(options: Options) -> None:
    async with running(options) as (service, _):
        (only,) = service.slots
        pid, channel = only.pid, only._channel
        assert pid
        assert channel
        only._leaving = True
        channel.close()  # what the kernel does for a supervisor that was killed
        await until(lambda: not lives(pid), "the worker ended")


async def test_a_worker_that_is_being_replaced_ends_with_the_service(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    service, opening, opened = Service(options), asyncio.Event(), asyncio.Event()
    await service.start()

    async def held(end: socket.socket) -> Channel:
        channel = await Channel.open(end)
        opening.set()
        try:
            await opened.wait()
        except asyncio.CancelledError:
            channel.close()
            raise
        return channel

    monkeypatch.setattr(slot, "Channel", SimpleNamespace(open=held))
    pid = service.slots[0].pid
    assert pid
    os.kill(pid, signal.SIGKILL)
    await opening.wait()
    stopping = asyncio.create_task(service.stop(0, notice=False))
    await asyncio.sleep(0)
    opened.set()
    async with asyncio.timeout(DEADLINE_S):
        await stopping
    assert workers_of(os.getpid()) == []


async def test_a_worker_that_drains_pays_what_it_owes_when_its_supervisor_is_gone(options: Options, folder: Path) -> None:
    decisions = folder / "decisions.jsonl"
    async with running(replace(options, decisions=str(decisions), drain_seconds=60)) as (service, _):
        (only,) = service.slots
        pid, channel = only.pid, only._channel
        assert pid
        assert channel
        async with grpc.aio.insecure_channel(only.address) as gateway:
            call: Any = gateway.stream_stream(processor.METHOD)()
            await call.wait_for_connection()
            only._leaving = True
            only.send(Drain(60, notice=False))
            await until(lambda: _refuses(only.address), "the worker drained")
            channel.close()
            await until(lambda: not lives(pid), "the worker ended")
            call.cancel()
        assert '"kind":"decision"' in decisions.read_text()


async def _refuses(address: str) -> bool:
    return await health(address) is None
