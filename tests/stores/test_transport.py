"""A server is reached over TCP, and over TLS only when it is who it says."""

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.stores import open_store
from tests.stores.closing import release

HOUR = timedelta(hours=1)


def self_signed(path: Path) -> ssl.SSLContext:
    """A server's context for `localhost`; the certificate is written to `path`, its key beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - HOUR, now + HOUR)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    path.with_suffix(".key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path, path.with_suffix(".key"))
    return context


@pytest.mark.parametrize("tls", [False, True])
async def test_a_server_is_reached_over_tcp_and_tls(tmp_path: Path, tls: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"lease:a" in await reader.read(1 << 20)
        writer.write(b"*1\r\n*1\r\n:1\r\n")
        await reader.read()
        writer.close()

    certificate = tmp_path / "certificate.pem"
    context = self_signed(certificate) if tls else None
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"rediss://localhost:{port}/?ssl_ca_certs={certificate}" if tls else f"redis://127.0.0.1:{port}"
        store = open_store(url)
        assert await release(store, "org", "a", now_ms=0)
        await store.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise AssertionError("the client must not have come this far")

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=self_signed(tmp_path / "certificate.pem")) as server:
        store = open_store(f"rediss://localhost:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(StoreUnavailable, match="cannot connect"):
            await store.ping()
        await store.close()
