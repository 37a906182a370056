"""The admin API of a running service: its keys at the workers, where it is served, and over TLS."""

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import pytest

from headrace.ext_proc.admin.tokens import ROSTER, Role, fresh_token
from headrace.ext_proc.envoy import certificate, processor
from headrace.ext_proc.envoy.config.names import CAPABILITIES, CAPABILITIES_HEADER, UsageReader
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb
from headrace.ext_proc.envoy.transport import Tls
from headrace.ext_proc.service.admin import Admin, AdminError
from headrace.ext_proc.service.healthy import ready
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.run import administered
from headrace.ext_proc.service.supervisor import Service
from tests.envoy.h2.certificates import Authority
from tests.service.waiting import until

POLICY = """version: 1
models:
  - {name: llama, price: {input: 1, output: 1}}
identity:
  - api_keys: {store: true}
budgets:
  - {name: team-day, per: [team], limit: {requests: 1}, window: day}
filters:
  - identity: {}
  - budget: {}
"""
CHAT = b'{"model": "llama", "messages": [{"role": "user", "content": "hi"}]}'
METADATA = ((CAPABILITIES_HEADER, ",".join(CAPABILITIES[UsageReader.GATEWAY])),)


@pytest.fixture
def options(folder: Path, valkey: str, monkeypatch: pytest.MonkeyPatch) -> Options:
    monkeypatch.delenv("HEADRACE_PEPPER", raising=False)
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "headrace.pepper").write_text("p" * 32)
    listen = Address(path=str(folder / "run" / "worker.sock"))
    return Options(
        policy=folder / "policy.yaml", listen=listen, store=valkey, admin=Address(host="127.0.0.1", port=0), log=folder / "log",
        drain_seconds=5,
    )  # fmt: skip


@asynccontextmanager
async def running(options: Options) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """The service, and a client of its admin API with a token of every role."""
    service = Service(options)
    async with administered(service) as admin, service:
        assert admin is not None
        now = datetime.now(UTC)
        fresh = fresh_token("root", list(Role), now, now + timedelta(hours=1), "test")
        await service.store.enrol(ROSTER, fresh.record.id, fresh.record.packed())
        async with httpx.AsyncClient(base_url=f"{admin.url}/api/v1", headers={"authorization": f"Bearer {fresh.secret}"}) as client:
            yield service, client


async def asked(address: str, secret: str) -> int:
    """What a worker says of one chat: 0 for admitted, else the status of its refusal."""
    pairs = {":method": "POST", ":path": "/v1/chat/completions", "content-type": "application/json", "x-api-key": secret}
    sent = pb.ProcessingRequest()
    sent.protocol_config.request_body_mode = pb.BUFFERED
    for name, value in pairs.items():
        sent.request_headers.headers.headers.add(key=name, raw_value=value.encode())
    body = pb.ProcessingRequest(request_body=pb.HttpBody(body=CHAT, end_of_stream=True))
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = channel.stream_stream(processor.METHOD)(metadata=METADATA, timeout=30)
        for message in (sent, body):
            await call.write(message.SerializeToString())
            answer = pb.ProcessingResponse.FromString(await call.read())
            if answer.HasField("immediate_response"):
                return int(answer.immediate_response.status.code)
    return 0


async def done(client: httpx.AsyncClient, path: str, **body: object) -> dict[str, Any]:
    found = await client.post(path, json=body)
    assert found.status_code in (200, 201), found.text
    return dict(found.json())


async def test_a_key_works_at_every_worker_at_once_and_ends_at_all_of_them(options: Options) -> None:
    async with running(replace(options, workers=2)) as (service, client):
        first, second = service.addresses
        assert await asked(first, "hr-unknown") == 401
        keys = [await done(client, "/keys", team=f"team {number}") for number in range(2)]
        assert [await asked(address, key["key"]) for address, key in zip(service.addresses, keys, strict=True)] == [0, 0]
        await done(client, f"/keys/{keys[0]['id']}/revoke")
        for address in (first, second):
            await until(lambda address=address: _refused(address, keys[0]["key"]), "the worker knew of it")  # type: ignore[misc]
        assert await asked(first, keys[1]["key"]) == 429


async def _refused(address: str, secret: str) -> bool:
    return await asked(address, secret) == 401


async def test_a_raise_is_in_force_at_the_workers(options: Options) -> None:
    async with running(options) as (service, client):
        (address,) = service.addresses
        key = (await done(client, "/keys", team="raised"))["key"]
        assert [await asked(address, key) for _ in range(2)] == [0, 429]
        asked_for = {"amount": "1", "whom": {"team": "raised"}, "reason": "a test"}
        await done(client, "/budgets/team-day/raise", **asked_for)
        await until(lambda: _admitted(address, key), "the raise counted")
        (standing,) = (await client.get("/budgets", params={"team": "raised"})).json()["standings"]
        assert (standing["used"], standing["limit"], standing["remaining"]) == ("2", "2", "0")


async def _admitted(address: str, secret: str) -> bool:
    return await asked(address, secret) == 0


async def test_beyond_this_machine_it_is_served_over_tls_alone(options: Options, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    async with running(replace(options, admin=Address(host="0.0.0.0", port=0))) as (_, client):
        found = await client.get("/caller")
        assert (found.status_code, found.json()["error"]["code"]) == (403, "api.off")
        assert "--admin-tls-cert" in found.json()["error"]["message"]
        assert (await client.get(str(client.base_url).replace("/api/v1/", "/healthz"))).text == "ok\n"
    assert "the admin API is off" in caplog.text


async def test_over_tls_it_is_served_anywhere(options: Options, folder: Path) -> None:
    authority = Authority(folder)
    tls = Tls(*authority.issue("admin"))
    service = Service(replace(options, admin=Address(host="0.0.0.0", port=0), admin_tls=tls))
    async with administered(service) as admin:
        assert admin is not None and admin.url.startswith("https://")
        context = ssl.create_default_context(cafile=authority.path)
        async with httpx.AsyncClient(verify=context, base_url=admin.url.replace("0.0.0.0", "127.0.0.1")) as client:
            assert (await client.get("/api/v1/caller")).status_code == 401
            assert (await client.get("/healthz")).text == "ok\n"
            assert (await client.get("/api/v1")).status_code == (await client.get("/healthz/")).status_code == 404
    await service.kill()


async def test_a_certificate_that_is_renewed_is_served_without_a_restart(
    options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate, "LOOK_S", 0.01)
    authority = Authority(folder)
    service = Service(replace(options, admin_tls=Tls(*authority.issue("admin"))))
    async with administered(service) as admin:
        assert admin is not None
        at = ("127.0.0.1", int(admin.url.rpartition(":")[2]))

        async def shown() -> str:
            return await asyncio.to_thread(ssl.get_server_certificate, at)

        async def renewed() -> bool:
            return await shown() != before

        before = await shown()
        authority.issue("admin")
        await until(renewed, "the certificate that is in the files now")
        async with httpx.AsyncClient(base_url=admin.url, verify=ssl.create_default_context(cafile=authority.path)) as client:
            told = (await client.get("/metrics")).text
        assert 'headrace_certificate_refused{listener="admin"} 0.0' in told
        assert 'headrace_certificate_not_after_timestamp_seconds{listener="admin"} 1.' in told
    await service.kill()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="the kernel has no IPv6")
async def test_every_address_is_those_of_ipv4_too(options: Options) -> None:
    service = Service(replace(options, admin=Address(host="::", port=0)))
    async with administered(service) as admin, httpx.AsyncClient() as client:
        assert admin is not None
        port = admin.url.rpartition(":")[2]
        for host in ("127.0.0.1", "[::1]"):
            assert (await client.get(f"http://{host}:{port}/healthz")).text == "ok\n"
    await service.kill()


@pytest.mark.parametrize("tls", [False, True])
async def test_the_image_knows_whether_the_service_is_ready(
    tls: bool, options: Options, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")  # as Docker's own settings give them to every container
    files = Tls(*Authority(folder).issue("admin")) if tls else None
    service = Service(replace(options, admin=Address(host="0.0.0.0", port=0), admin_tls=files))
    async with administered(service) as admin:
        assert admin is not None
        seen = {"HEADRACE_ADMIN": admin.url.rpartition("/")[2], "HEADRACE_ADMIN_TLS_CERT": "there" if tls else ""}
        assert not await asyncio.to_thread(ready, seen)
        async with service:
            assert await asyncio.to_thread(ready, seen)
    assert not await asyncio.to_thread(ready, seen)
    assert ready({"HEADRACE_ADMIN": "off"})


async def test_a_certificate_that_cannot_be_used_is_said(options: Options, folder: Path) -> None:
    service = Service(replace(options, admin_tls=Tls(str(folder / "none.pem"), str(folder / "none.key"))))
    with pytest.raises(AdminError, match="cannot use its certificate"):
        await Admin(service, Address(host="127.0.0.1", port=0)).start()
    await service.kill()


async def test_who_sends_too_much_is_cut_off(options: Options) -> None:
    """Through the real server: the answer comes before the body is through, and the connection ends."""
    service = Service(options)
    async with administered(service) as admin:
        assert admin is not None
        now = datetime.now(UTC)
        fresh = fresh_token("root", [Role.OPERATOR], now, now + timedelta(hours=1), "test")
        await service.store.enrol(ROSTER, fresh.record.id, fresh.record.packed())
        reader, writer = await asyncio.open_connection("127.0.0.1", int(admin.url.rpartition(":")[2]))
        head = (
            f"POST /api/v1/keys HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {fresh.secret}\r\ncontent-type: application/json\r\n"
        )
        writer.write(f"{head}content-length: 10000000\r\n\r\n".encode() + b" " * 100_000)
        async with asyncio.timeout(30):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 413 ") and b'"request.too_large"' in answer
        writer.close()
    await service.kill()
