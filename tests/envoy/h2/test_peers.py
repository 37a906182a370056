"""Other people's HTTP/2 at the other end: nghttp2's tools, and grpcio over TLS; test_transport has grpcio in the clear."""

import asyncio
import shutil
import socket
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from headrace.ext_proc.envoy.certificate import Certificate
from headrace.ext_proc.envoy.h2 import frames, handshakes
from headrace.ext_proc.envoy.h2.messages import framed
from headrace.ext_proc.envoy.h2.server import H2Server
from headrace.ext_proc.envoy.transport import Call, ListenError, Methods, Tls, Transport, listen
from tests.envoy.h2.certificates import Authority
from tests.envoy.h2.served import PATH, echo, served, stopped
from tests.transcripts.site import WAIT

GRPC = ("-H", "content-type: application/grpc", "-H", "te: trailers", "-H", "headrace-capabilities: access-log")


async def ran(tool: str, *arguments: str) -> str:
    """What the tool printed. Skips the test where it is not installed."""
    if (path := shutil.which(tool)) is None:
        pytest.skip(f"needs {tool}: apt-get install nghttp2-client")
    process = await asyncio.create_subprocess_exec(
        path, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(WAIT):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    return output.decode(errors="replace")


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "message"
    path.write_bytes(framed(b"hello " * 5_000))
    return path


async def test_nghttp_gets_its_message_back_and_the_status(body: Path) -> None:
    async with served() as run:
        told = await ran("nghttp", "-v", "-n", "-d", str(body), *GRPC, f"http://127.0.0.1:{run.server.port}{PATH}")
    assert ":status: 200" in told
    assert "grpc-status: 0" in told
    assert "GOAWAY" not in told.split("grpc-status: 0")[0]


@pytest.mark.parametrize("padding", ["0", "255"])
async def test_nghttp_pads_and_uses_small_windows(body: Path, padding: str) -> None:
    options = (
        "--window-bits=10",
        "--connection-window-bits=11",
        f"--padding={padding}",
        "--encoder-header-table-size=0",
    )
    async with served() as run:
        url = f"http://127.0.0.1:{run.server.port}{PATH}"
        told = await ran("nghttp", "-v", "-n", *options, "-m", "20", "-d", str(body), *GRPC, "-H", f"x-long: {'y' * 9_000}", url)
    assert told.count("grpc-status: 0") == 20


@pytest.mark.parametrize("streams", ["1", "100"])
async def test_h2load_has_all_its_calls_answered(body: Path, streams: str) -> None:
    async with served() as run:
        url = f"http://127.0.0.1:{run.server.port}{PATH}"
        told = await ran("h2load", "-n", "1000", "-c", "4", "-m", streams, "-d", str(body), *GRPC, url)
    assert "1000 succeeded, 0 failed, 0 errored, 0 timeout" in told


async def test_a_browser_is_told_that_this_is_no_web_server() -> None:
    async with served() as run:
        told = await ran("nghttp", "-v", "-n", f"http://127.0.0.1:{run.server.port}/")
    assert ":status: 405" in told


# --- TLS --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


async def greet(channel: grpc.aio.Channel, *, wait: bool = False) -> bytes:
    """wait: for the server to take the connection."""
    call: Any = channel.unary_unary(PATH)
    return bytes(await call(b"hello", timeout=WAIT, wait_for_ready=wait))


METHODS: Methods = {PATH: echo}


@pytest.mark.parametrize("transport", Transport)
async def test_tls_with_a_clients_certificate_and_without(authority: Authority, transport: Transport) -> None:
    own = authority.issue("server")
    for client_ca, shown in (("", None), (authority.path, authority.issue("client"))):
        server = listen(transport, METHODS, "127.0.0.1:0", Tls(*own, client_ca))
        await server.start()
        credentials = grpc.ssl_channel_credentials(_read(authority.path), *(map(_read, reversed(shown)) if shown else ()))
        async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
            assert await greet(channel) == b"hello"
        await stopped(server)


@pytest.mark.parametrize("transport", Transport)
async def test_without_the_certificate_that_is_asked_for_nobody_is_served(authority: Authority, transport: Transport) -> None:
    server = listen(transport, METHODS, "127.0.0.1:0", Tls(*authority.issue("server"), authority.path))
    await server.start()
    credentials = grpc.ssl_channel_credentials(_read(authority.path))
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await greet(channel)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    await stopped(server)


async def test_under_tls_who_does_not_ask_for_h2_is_not_served(authority: Authority) -> None:
    async with served(tls=Tls(*authority.issue("server"))) as run:
        context = ssl.create_default_context(cafile=authority.path)
        reader, writer = await asyncio.open_connection("127.0.0.1", run.server.port, ssl=context, server_hostname="localhost")
        with pytest.raises((ConnectionError, ssl.SSLError)):
            assert not await asyncio.wait_for(reader.read(), WAIT)
            raise ConnectionResetError
        writer.close()


async def test_a_handshake_that_is_not_gone_on_with_is_ended(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "HANDSHAKE_S", 0.2)
    async with served(tls=Tls(*authority.issue("server"))) as run, run.speaker(greets=False) as silent:
        await silent.closed()


async def test_who_has_no_certificate_cannot_begin_any_number_of_handshakes(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handshakes, "MAX_HANDSHAKES", 2)
    credentials = grpc.ssl_channel_credentials(_read(authority.path))
    async with (
        served(tls=Tls(*authority.issue("server"))) as run,
        run.speaker(greets=False) as first,
        run.speaker(greets=False),
        run.speaker(greets=False) as third,
    ):
        await third.closed()
        first.writer.close()
        async with grpc.aio.secure_channel(f"127.0.0.1:{run.server.port}", credentials) as channel:
            assert await greet(channel, wait=True) == b"hello"


async def shown(port: int) -> str:
    """The name in the certificate that a new connection is shown, by a client that names no server."""
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port), timeout=WAIT)
    (name,) = x509.load_pem_x509_certificate(pem.encode()).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


async def test_a_certificate_that_is_replaced_is_shown_to_those_who_come(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    """Junk is not, nor a certificate whose key has not been written yet; and connections that there are go on."""
    certificate, key = map(Path, authority.issue("first"))
    other_certificate, other_key = map(Path, authority.issue("second"))
    async with served(tls=Tls(str(certificate), str(key), "")) as run:
        following = run.server.certificate
        assert following is not None
        credentials = grpc.ssl_channel_credentials(_read(authority.path))
        async with grpc.aio.secure_channel(f"127.0.0.1:{run.server.port}", credentials) as channel:
            assert await greet(channel) == b"hello"
            for data in (b"junk", other_certificate.read_bytes()):
                certificate.write_bytes(data)
                following.look()
                assert following.refused
                assert await shown(run.server.port) == "first"
            key.write_bytes(other_key.read_bytes())
            following.look()
            assert not following.refused
            assert await shown(run.server.port) == "second"
            assert await greet(channel) == b"hello"
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "certificate refused, the last good one stays in force"
    ] * 2


def test_the_dates_of_a_certificate_are_those_of_the_one_in_force(authority: Authority) -> None:
    tls = Tls(*authority.issue("server"))
    following = Certificate(tls, tls.context)
    before = following.validity
    assert before is not None
    assert before.not_before < time.time() < before.not_after
    _, key = authority.issue("server", days=30)
    following.look()
    after = following.validity
    assert after is not None
    assert after.not_after - before.not_after == pytest.approx(29 * 86_400, abs=60)
    Path(key).write_text("half")
    following.look()
    assert following.validity == after
    assert following.refused


async def test_clients_certificates_are_those_of_the_authority_that_is_there_now(authority: Authority, tmp_path: Path) -> None:
    client = authority.issue("client")
    clients = tmp_path / "clients.pem"
    clients.write_bytes(_read(Authority(tmp_path).path))  # another one
    server = H2Server(METHODS, "127.0.0.1:0", Tls(*authority.issue("server"), str(clients)))
    await server.start()
    assert server.certificate is not None
    credentials = grpc.ssl_channel_credentials(_read(authority.path), *map(_read, reversed(client)))
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await greet(channel)
    clients.write_bytes(_read(authority.path))
    server.certificate.look()
    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        assert await greet(channel) == b"hello"
    await stopped(server)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_session_is_no_way_past_an_authority_that_was_taken_out(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    clients = tmp_path / "clients.pem"
    clients.write_bytes(_read(authority.path))
    context = ssl.create_default_context(cafile=authority.path)
    context.load_cert_chain(*authority.issue("client"))
    context.set_alpn_protocols(["h2"])
    context.maximum_version = version
    async with served(tls=Tls(*authority.issue("server"), str(clients))) as run:
        assert run.server.certificate is not None
        resumed, session = await asyncio.to_thread(_greeted, run.server.port, context, None)
        assert not resumed
        assert (await asyncio.to_thread(_greeted, run.server.port, context, session))[0]
        clients.write_bytes(_read(Authority(tmp_path).path))  # another one
        run.server.certificate.look()
        with pytest.raises(OSError):
            await asyncio.to_thread(_greeted, run.server.port, context, session)


def _greeted(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
    """Whether the server's first frame came in a session that was resumed, and the session. Raises OSError when none came."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=WAIT) as plain,
        context.wrap_socket(plain, server_hostname="localhost", session=session) as line,
    ):
        line.sendall(frames.PREFACE + frames.settings({}))
        if not line.recv(9):
            raise ConnectionResetError("the server closed the connection")
        return bool(line.session_reused), line.session


def test_nobody_is_asked_for_the_pass_phrase_of_a_key(authority: Authority, capfd: pytest.CaptureFixture[str]) -> None:
    chain, key = authority.issue("server")
    made = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"secret")
    Path(key).write_bytes(made.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
    with pytest.raises(ssl.SSLError):
        Tls(chain, key).context()
    assert not capfd.readouterr().err


@pytest.mark.parametrize("transport", Transport)
async def test_a_certificate_that_is_none_is_said(tmp_path: Path, transport: Transport) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(ListenError, match=r"cannot listen on 127\.0\.0\.1:0"):
        listen(transport, METHODS, "127.0.0.1:0", Tls(str(tmp_path / "none.pem"), str(tmp_path / "x.pem")))


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


async def test_metadata_is_the_same_on_both_transports() -> None:
    seen: list[dict[str, str]] = []

    async def keep(call: Call) -> None:
        seen.append(dict(call.metadata))

    pairs: Sequence[tuple[str, str]] = (("headrace-capabilities", "a,b"), ("twice", "1"), ("twice", "2"), ("empty", ""))
    for transport in Transport:
        server = listen(transport, {PATH: keep}, "127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            call: Any = channel.stream_stream(PATH)(metadata=pairs, timeout=WAIT)
            assert await call.code() is grpc.StatusCode.OK
        await server.stop(0)
    ours, theirs = ({name: fields.get(name) for name, _ in pairs} for fields in seen)
    assert ours == theirs == {"headrace-capabilities": "a,b", "twice": "2", "empty": ""}


async def test_http1_is_turned_away() -> None:
    async with served() as run:
        reader, writer = await asyncio.open_connection("127.0.0.1", run.server.port)
        assert writer.get_extra_info("socket").family == socket.AF_INET
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"this is no HTTP/2" in await asyncio.wait_for(reader.read(), WAIT)
        writer.close()
