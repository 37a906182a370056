"""What a store's URL says, and what is said of one that cannot be used."""

import asyncio
from pathlib import Path

import pytest

from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.stores import open_store

HOSTS = "come HOST:PORT,HOST:PORT; IPv6 as in [::1]:6379"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("127.0.0.1:6379", "has no scheme, as redis://127.0.0.1:6379 has"),
        ("redis+friends://host:1", "'redis.friends' is none of unix, redis,"),
        ("redis://[::1:6379", "host and port cannot be read"),
        ("redis+cluster://host", HOSTS),
        ("redis+cluster://host:1,host", HOSTS),
        ("redis+cluster://host:1,[::1:2", HOSTS),
        ("redis+cluster://::1:6379", HOSTS),
        ("redis+cluster://host:99999", HOSTS),
        ("redis+cluster://:pass/word@host:1", HOSTS),
        ("redis+sentinel://host:1", "wants the service's name after the hosts"),
        ("redis://host?replicas=all", "replicas is a number"),
        ("redis://host?timout=1", "'timout' is none of replicas, client_name, db,"),
        ("redis+cluster://host:1?sentinel_password=p", "'sentinel_password' is none of replicas,"),
        ("redis+sentinel://host:1/main?timout=1", "'timout' is none of replicas,"),
        ("REDIS://host?ssl_ca_certs=ca.pem", "'ssl_ca_certs' is none of"),
        ("rediss://host?ssl_ca_certs=/no/ca.pem", "ssl_ca_certs: there is no file /no/ca.pem"),
        ("rediss://host?ssl_min_version=TLSv1_3", "Invalid value for 'ssl_min_version'"),
        ("rediss://host?ssl_cert_reqs=perhaps", "Invalid SSL Certificate Requirements Flag: perhaps"),
        ("redis://host?credential_provider=x", "'credential_provider' is none of"),  # no text: it fails when it connects
        ("redis://host?socket_timeout=9", "'socket_timeout' is none of"),  # the store's own, and another one
    ],
)
def test_a_url_that_cannot_be_used_is_refused_at_once(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("[", r"\[")):
        open_store(url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://[::1]:1",
        "redis+cluster://[::1]:1,127.0.0.1:1",
        "redis+cluster://localhost:1, [::1]:1",
        "redis+cluster://user:p%40ss%2Fword@[::1]:1",
        "REDIS+SENTINEL://[::1]:1,localhost:1/main",
        "rediss://127.0.0.1:1?ssl_min_version=1",
    ],
)
async def test_a_store_that_is_not_there_is_unavailable(url: str) -> None:
    store = open_store(url, timeout_s=5)
    try:
        async with asyncio.timeout(30):
            with pytest.raises(StoreUnavailable, match="cannot connect to the store"):
                await store.ping()
    finally:
        await store.close()


def test_a_certificate_file_is_looked_at_when_the_store_is_opened(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    open_store(f"rediss://host?ssl_ca_certs={tmp_path / 'ca.pem'}")


@pytest.mark.parametrize("url", ["redis+cluster://[::1]:1,127.0.0.1:2", "redis+sentinel://[::1]:1,127.0.0.1:2/main"])
async def test_every_server_that_was_asked_is_named(url: str) -> None:
    store = open_store(url, timeout_s=5)
    with pytest.raises(StoreUnavailable, match=r"\[::1\]:1: .*; 127\.0\.0\.1:2: "):
        await store.ping()
    await store.close()
