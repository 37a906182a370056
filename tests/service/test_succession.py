"""A service that takes over from one that still drains, as in a rolling update."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest

from headrace.ext_proc.envoy import processor
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.transport import Transport
from headrace.ext_proc.service import slot
from headrace.ext_proc.service.admin import Admin
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.run import administered
from headrace.ext_proc.service.supervisor import Service
from tests.service.waiting import SERVING, health, until
from tests.stores.servers import free_ports


async def test_a_successor_keeps_its_socket_when_the_service_before_it_ends(
    folder: Path, policy: Path, valkey: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "CHECK_S", 0.05)
    options = Options(policy=policy, listen=Address(path=str(folder / "worker.sock")), store=valkey, drain_seconds=60)
    old, new = Service(options), Service(options)
    await old.start()
    async with grpc.aio.insecure_channel(old.addresses[0]) as channel:
        call: Any = channel.stream_stream(processor.METHOD)()
        await call.wait_for_connection()
        await until(lambda: _streams(old) == 1, "the stream was open")
        leaving = asyncio.create_task(old.stop(notice=False))
        await until(lambda: not (folder / "worker.sock").exists(), "the old one listened no longer")
        async with new:
            assert not leaving.done()
            call.cancel()
            await leaving
            assert await health(new.addresses[0]) == SERVING


async def test_a_successor_takes_a_socket_over_before_it_is_left(folder: Path, policy: Path, valkey: str) -> None:
    options = Options(policy=policy, listen=Address(path=str(folder / "worker.sock")), store=valkey, drain_seconds=60)
    old, new = Service(options), Service(options)
    await old.start()
    async with grpc.aio.insecure_channel(old.addresses[0]) as channel:
        call: Any = channel.stream_stream(processor.METHOD)()
        await call.wait_for_connection()
        new.succeed()
        async with new:
            assert await health(new.addresses[0]) == SERVING
            assert not call.done()
            call.cancel()
            await old.stop(notice=False)
            assert await health(new.addresses[0]) == SERVING


def test_ports_and_sockets_that_grpcio_unlinks_are_waited_for(folder: Path, policy: Path) -> None:
    in_a_file = Options(policy=policy, listen=Address(path=str(folder / "worker.sock")), store="memory://")
    at_a_port = replace(in_a_file, listen=Address(host="127.0.0.1", port=0))
    for options, taken_over in ((in_a_file, True), (at_a_port, False), (replace(in_a_file, transport=Transport.GRPCIO), False)):
        service = Service(options)
        service.succeed()
        assert [slot.stood_in for slot in service.slots] == [taken_over]


async def test_a_successor_serves_at_once_and_takes_the_admin_address_when_the_service_before_it_ends(
    folder: Path, policy: Path, valkey: str
) -> None:
    (port,) = free_ports(1)
    options = Options(
        policy=policy, listen=Address(path=str(folder / "worker.sock")), store=valkey, admin=Address(host="127.0.0.1", port=port)
    )
    old, new = Service(options), Service(options)
    async with AsyncExitStack() as earlier, AsyncExitStack() as later, httpx.AsyncClient() as client:
        held = await earlier.enter_async_context(administered(old))
        await old.start()
        async with grpc.aio.insecure_channel(old.addresses[0]) as channel:
            call: Any = channel.stream_stream(processor.METHOD)()
            await call.wait_for_connection()
            leaving = asyncio.create_task(old.stop(notice=False))
            admin = await later.enter_async_context(administered(new))
            assert held is not None and admin is not None and admin.url == held.url
            assert new.slots[0].stood_in
            await later.enter_async_context(new)
            assert await health(new.addresses[0]) == SERVING
            assert (await client.get(f"{admin.url}/readyz")).json()["draining"]
            call.cancel()
            await leaving
            await earlier.aclose()
            await until(lambda: _says_ready(client, admin), "the successor had the address")


async def _says_ready(client: httpx.AsyncClient, admin: Admin) -> bool:
    try:
        return (await client.get(f"{admin.url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def _streams(service: Service) -> float:
    (only,) = service.slots
    return next((sample.value for sample in only.samples if sample.name == "headrace_active_streams"), 0.0)
