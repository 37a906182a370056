"""The proxy between a client and a real server, over TCP and over a Unix socket."""

import asyncio
import contextlib
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from random import Random
from typing import Literal

import pytest

from tests.e2e.envoy_process import short_directory
from tests.soak.faults.network import Weather, pieces
from tests.soak.faults.proxy import Address, FaultProxy

DATA = bytes(range(256)) * 1000
Family = Literal["tcp", "unix"]


@contextlib.asynccontextmanager
async def echo(family: Family = "tcp") -> AsyncIterator[Address]:
    """A server that answers what it hears, until it hears the end."""

    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    with short_directory() as folder:
        if family == "unix":
            server = await asyncio.start_unix_server(answer, folder / "echo.sock")
            address = Address(path=folder / "echo.sock")
        else:
            server = await asyncio.start_server(answer, "127.0.0.1", 0)
            address = Address(port=server.sockets[0].getsockname()[1])
        try:
            yield address
        finally:
            server.close()


@contextlib.asynccontextmanager
async def through(weather: Weather, family: Family = "tcp") -> AsyncIterator[tuple[FaultProxy, StreamReader, StreamWriter]]:
    """A proxy before the echo, and one connection through it that has been used once."""
    async with echo(family) as target:
        listen = Address(path=target.path.with_name("proxy.sock")) if target.path else None
        async with FaultProxy(target, seed=3, listen=listen) as proxy:
            reader, writer = await proxy.address.connect()
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            proxy.weather = weather
            try:
                yield proxy, reader, writer
            finally:
                writer.close()


@pytest.mark.parametrize("family", ["tcp", "unix"])
@pytest.mark.parametrize(
    "weather",
    [
        Weather(),
        Weather(split=True),
        Weather(latency_s=0.001, jitter_s=0.002),
        Weather(bytes_per_s=20_000_000),
        Weather(lost=0.5, stalled_s=0.001),
        Weather(latency_s=0.001, split=True, lost=0.1, stalled_s=0.001),
    ],
    ids=["clear", "split", "late", "slow", "lossy", "all"],
)
async def test_what_arrives_is_what_was_sent_and_the_end_comes_after_it(weather: Weather, family: Family) -> None:
    async with through(weather, family) as (_, reader, writer):
        receiving = asyncio.create_task(reader.read())
        writer.write(DATA)
        await writer.drain()
        writer.write_eof()
        assert await receiving == DATA


async def test_split_packets_are_read_one_by_one() -> None:
    async with through(Weather(split=True)) as (_, reader, writer):
        writer.write(b"x" * 500)
        reads: list[int] = []
        while sum(reads) < 500:
            reads.append(len(await reader.read(65_536)))
        assert len(reads) > 3


@pytest.mark.parametrize("size", [0, 1, 2, 64, 65, 5000])
def test_pieces_are_the_whole_and_follow_from_the_seed(size: int) -> None:
    data = DATA[:size]
    for seed in range(200):
        cut = list(pieces(data, Random(seed)))
        assert b"".join(cut) == data
        assert all(cut)
        assert cut == list(pieces(data, Random(seed)))


async def test_a_reset_ends_connections_with_an_error_not_an_end() -> None:
    async with through(Weather()) as (proxy, reader, _):
        assert proxy.open == 1
        assert proxy.reset() == 1
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


async def test_a_lost_packet_that_never_comes_resets_the_connection() -> None:
    async with through(Weather(lost=1.0, stalled_s=0.001, cut=1.0)) as (_, reader, writer):
        writer.write(b"lost")
        with pytest.raises(ConnectionResetError):
            await reader.read(1)


@pytest.mark.parametrize("server_knows", [False, True])
async def test_who_vanished_says_nothing_more_and_others_are_served(server_knows: bool) -> None:
    async with through(Weather()) as (proxy, reader, writer):
        assert proxy.vanish(server_knows=server_knows) == 1
        writer.write(b"anybody?")
        waiting = asyncio.create_task(reader.read(1))
        second = await proxy.address.connect()
        second[1].write(b"here")
        assert await second[0].readexactly(4) == b"here"
        assert not waiting.done()
        proxy.reset()
        with pytest.raises(ConnectionResetError):
            await waiting
        second[1].close()


async def test_while_it_is_down_nobody_gets_through_and_afterwards_everybody_does() -> None:
    async with through(Weather()) as (proxy, _, _):
        proxy.down = True
        refused = await proxy.address.connect()
        with pytest.raises(ConnectionResetError):
            await refused[0].read(1)
        proxy.down = False
        taken = await proxy.address.connect()
        taken[1].write(b"again")
        assert await taken[0].readexactly(5) == b"again"
        for _, writer in (refused, taken):
            writer.close()


async def test_a_server_that_is_not_there_is_a_reset() -> None:
    async with FaultProxy(Address(port=1)) as proxy:
        reader, writer = await proxy.address.connect()
        with pytest.raises(ConnectionResetError):
            await reader.read(1)
        writer.close()
