"""What is particular to a server: it may be away, slow, replaced, emptied or broken, and calls share one connection."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import redis

from headrace.ext_proc.core.ledger import Admitted, Charge, Closing, Exhausted, Fixed, Sliding
from headrace.ext_proc.core.ports import NeverSent, Store, StoreUnavailable
from headrace.ext_proc.service.slot import StartError
from headrace.ext_proc.service.store_check import check
from headrace.ext_proc.stores import link, open_store
from headrace.ext_proc.stores.embedded import EmbeddedStore
from headrace.ext_proc.stores.redis import RedisStore
from headrace.ext_proc.stores.wire import lease_key
from tests.stores.closing import release, settle
from tests.stores.servers import Server, free_ports

NOW = 1_795_000_000_000
CHARGE = Charge("team", "tokens", 100, 10, Fixed(NOW, NOW + 60_000))
DEADLINE_S = 10.0
TIMEOUT_S = 0.2


async def reserve(store: Store, lease: str) -> object:
    return await store.reserve("org", lease, [CHARGE], now_ms=NOW, ttl_ms=60_000)


async def eventually(store: Store, lease: str) -> object:
    """The answer, once the store gives one."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                return await reserve(store, lease)
            except StoreUnavailable:
                await asyncio.sleep(0.01)


def lead(place: Path, url: str) -> None:
    """Make `place` lead to the server at `url`."""
    place.unlink(missing_ok=True)
    place.symlink_to(url.removeprefix("unix://"))


@pytest.fixture
def server() -> Iterator[EmbeddedStore]:
    server = EmbeddedStore()
    yield server
    server.stop()


@pytest.fixture
def place(server: EmbeddedStore, tmp_path: Path) -> Path:
    """A socket path that leads to the server, and may be led elsewhere."""
    place = tmp_path / "store"
    lead(place, server.start())
    return place


@pytest.fixture
async def store(place: Path) -> AsyncIterator[RedisStore]:
    store = RedisStore(f"unix://{place}", timeout_s=DEADLINE_S)
    yield store
    await store.close()


@pytest.fixture
def admin(place: Path) -> Iterator["redis.Redis"]:
    with redis.Redis(unix_socket_path=str(place)) as admin:
        yield admin


Answer = Callable[[bytes], bytes | None]
CLOSED = b"*1\r\n*1\r\n:1\r\n"
"""One lease was closed by this call."""


@asynccontextmanager
async def peer(place: Path, answer: Answer) -> AsyncIterator[RedisStore]:
    """A store whose server answers what it reads with `answer`, and hangs up where that is None."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        while data := await reader.read(1 << 20):
            if (reply := answer(data)) is None:
                break
            writer.write(reply)
        writer.close()

    async with await asyncio.start_unix_server(serve, place):
        store = RedisStore(f"unix://{place}", timeout_s=TIMEOUT_S)
        yield store
        await store.close()
        await asyncio.gather(*(task for task in serving if task))


async def test_a_server_that_is_away_makes_the_store_unavailable(tmp_path: Path) -> None:
    store = open_store(f"unix://{tmp_path}/nobody")
    for lease in ("a", "b"):
        with pytest.raises(StoreUnavailable, match="cannot connect"):
            await reserve(store, lease)
    await store.close()


async def test_calls_during_one_attempt_to_connect_fail_together(tmp_path: Path) -> None:
    store = open_store(f"unix://{tmp_path}/nobody")
    answers = await asyncio.gather(*(reserve(store, f"{n}") for n in range(20)), return_exceptions=True)
    assert {type(answer) for answer in answers} == {NeverSent}
    await store.close()


async def test_a_server_that_is_replaced_is_found_again_and_given_its_functions(
    server: EmbeddedStore, place: Path, store: RedisStore
) -> None:
    assert await reserve(store, "a") == Admitted((90,))
    server.stop()
    with pytest.raises(StoreUnavailable):
        await reserve(store, "b")
    with EmbeddedStore() as url:
        lead(place, url)
        assert await eventually(store, "c") == Admitted((90,))
        await store.close()


async def test_functions_that_were_flushed_are_loaded_again(store: RedisStore, admin: "redis.Redis") -> None:
    assert await reserve(store, "a") == Admitted((90,))
    admin.function_flush("SYNC")
    answers = await asyncio.gather(*(reserve(store, f"b{n}") for n in range(5)))
    assert sorted(answers, key=str) == [Admitted((left,)) for left in (40, 50, 60, 70, 80)]


async def test_a_connection_that_was_cut_is_made_anew_unnoticed(store: RedisStore, admin: "redis.Redis") -> None:
    assert await reserve(store, "a") == Admitted((90,))
    admin.client_kill_filter(_type="normal", skipme=True)
    assert await reserve(store, "b") == Admitted((80,))


async def test_a_call_that_lost_its_connection_is_repeated_once(tmp_path: Path) -> None:
    replies: list[bytes | None] = [None, b"*2\r\n:1\r\n:90\r\n", None, None]
    async with peer(tmp_path / "s", lambda data: replies.pop(0)) as store:
        assert await reserve(store, "a") == Admitted((90,))
        with pytest.raises(StoreUnavailable, match="broke"):
            await reserve(store, "b")
    assert replies == []


async def test_a_server_that_became_a_replica_is_left_for_the_primary(store: RedisStore, place: Path, admin: "redis.Redis") -> None:
    assert await reserve(store, "a") == Admitted((90,))
    admin.replicaof("127.0.0.1", "1")
    with EmbeddedStore() as primary:
        lead(place, primary)  # as a name is led to the new primary after a failover; the old connection stays up
        with pytest.raises(StoreUnavailable, match="read only replica"):
            await reserve(store, "b")
        assert await eventually(store, "c") == Admitted((90,))
        await store.close()


async def test_a_full_server_refuses_and_what_it_holds_stays_right(store: RedisStore, admin: "redis.Redis") -> None:
    assert await reserve(store, "a") == Admitted((90,))
    admin.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="maxmemory"):
        await reserve(store, "b")
    admin.config_set("maxmemory", 0)
    assert await reserve(store, "b") == Admitted((80,))


@pytest.mark.parametrize(
    ("memory", "policy", "told"),
    [
        ("100mb", "allkeys-lru", "allkeys-lru"),
        ("100mb", "volatile-ttl", "volatile-ttl"),
        ("100mb", "noeviction", ""),
        ("0", "allkeys-lru", ""),
    ],
)
async def test_a_server_that_drops_keys_when_it_is_full_is_known(
    store: RedisStore, admin: "redis.Redis", memory: str, policy: str, told: str
) -> None:
    admin.config_set("maxmemory", memory)
    admin.config_set("maxmemory-policy", policy)
    assert await store.evicts() == told


async def test_a_server_that_does_not_say_whether_it_drops_keys_is_believed(store: RedisStore, admin: "redis.Redis") -> None:
    admin.acl_setuser("default", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"])
    assert await store.evicts() == ""


async def test_a_password_is_used_and_never_told(place: Path, admin: "redis.Redis") -> None:
    admin.config_set("requirepass", "sesame")
    right, wrong = RedisStore(f"unix://:sesame@{place}"), RedisStore(f"unix://:secret@{place}")
    assert await reserve(right, "a") == Admitted((90,))
    with pytest.raises(StoreUnavailable) as caught:
        await reserve(wrong, "b")
    assert "secret" not in str(caught.value)
    await right.close()
    await wrong.close()


async def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    async with peer(tmp_path / "s", lambda data: b"") as store:
        answers = await asyncio.gather(*(reserve(store, f"{n}") for n in range(3)), return_exceptions=True)
        assert [str(answer) for answer in answers] == ["the store did not answer within 0.2 s"] * 3


async def test_a_server_that_talks_nonsense_is_given_up(tmp_path: Path) -> None:
    async with peer(tmp_path / "s", lambda data: b"HTTP/1.1 400 Bad Request\r\n\r\n") as store:
        with pytest.raises(StoreUnavailable, match="broke"):
            await reserve(store, "a")


async def test_a_server_without_functions_is_named_as_such(tmp_path: Path) -> None:
    async with peer(tmp_path / "s", lambda data: b"-ERR unknown command 'FCALL'\r\n") as store:
        with pytest.raises(StoreUnavailable, match="unknown command"):
            await reserve(store, "a")


async def test_calls_due_at_once_go_out_in_one_write(tmp_path: Path) -> None:
    seen: list[int] = []

    def answer(data: bytes) -> bytes:
        seen.append(data.count(b"FCALL"))
        return CLOSED * seen[-1]

    async with peer(tmp_path / "s", answer) as store:
        assert all(await asyncio.gather(*(release(store, "org", f"{n}", now_ms=NOW) for n in range(50))))
        assert await release(store, "org", "last", now_ms=NOW)
    assert seen == [50, 1]


async def test_a_caller_who_gave_up_in_time_costs_the_server_nothing(tmp_path: Path) -> None:
    seen: list[bytes] = []

    def answer(data: bytes) -> bytes:
        seen.append(data)
        return CLOSED * data.count(b"FCALL")

    async with peer(tmp_path / "s", answer) as store:
        gone = asyncio.ensure_future(release(store, "org", "gone", now_ms=NOW))
        stays = asyncio.ensure_future(release(store, "org", "stays", now_ms=NOW))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays
    assert len(seen) == 1 and b"lease:stays" in seen[0] and b"lease:gone" not in seen[0]


async def test_a_reply_whose_caller_has_gone_is_not_given_to_another(tmp_path: Path) -> None:
    held = asyncio.Event()

    def answer(data: bytes) -> bytes:
        held.set()
        return b"*1\r\n*1\r\n:0\r\n" + CLOSED if b"lease:stays" in data else b""

    async with peer(tmp_path / "s", answer) as store:
        gone = asyncio.ensure_future(release(store, "org", "gone", now_ms=NOW))
        await held.wait()
        gone.cancel()
        assert await release(store, "org", "stays", now_ms=NOW)


async def test_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "WAITING_MAX", 3)
    async with peer(tmp_path / "s", lambda data: CLOSED * data.count(b"FCALL")) as store:
        calls = [release(store, "org", f"{n}", now_ms=NOW) for n in range(5)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert answers[:3] == [True] * 3
        assert [str(answer) for answer in answers[3:]] == ["3 calls to the store are waiting already"] * 2
        assert await release(store, "org", "later", now_ms=NOW)


async def test_closing_waits_for_the_replies(store: RedisStore) -> None:
    answers = [asyncio.ensure_future(reserve(store, f"{n}")) for n in range(3)]
    await store.ping()
    last = asyncio.ensure_future(reserve(store, "last"))
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*answers, last) == [Admitted((left,)) for left in (90, 80, 70, 60)]


@pytest.mark.parametrize(
    "url", ["", "/tmp/socket", "http://:secret@host", "sqlite:///secret.db", "redis+cluster://secret", "redis://:pass?secret=1@h:1"]
)
def test_a_url_of_no_store_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="store URL: ") as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://h/?db=one", "redis://:secret@h:port/0", "unix:///s?timeout=later"])
def test_a_url_with_a_broken_part_is_refused(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)


async def test_whatever_is_written_expires_and_is_in_the_organisations_slot(store: RedisStore, admin: "redis.Redis") -> None:
    charges = [CHARGE, Charge("team", "requests", 9, 1, CHARGE.window), Charge("user", "tokens", 90, 1, Sliding(6_000))]
    for lease in ("held", "settled", "released"):
        await store.reserve("org", lease, charges, now_ms=NOW, ttl_ms=60_000)
    await settle(store, "org", "settled", {"tokens": 5}, now_ms=NOW)
    await release(store, "org", "released", now_ms=NOW)
    await release(store, "org", "unknown", now_ms=NOW)
    keys = list(admin.scan_iter())
    assert len(keys) == 6  # four leases, a fixed window, a sliding counter
    assert all(key.startswith(b"hr:{org}:") for key in keys)
    assert all(60_000 < admin.pttl(key) <= 120_000 for key in keys if b":sliding:" not in key)
    assert all(0 < admin.pttl(key) <= 66_100 for key in keys if b":sliding:" in key)


async def test_a_counter_the_server_has_dropped_is_not_brought_back(store: RedisStore, admin: "redis.Redis") -> None:
    charges = [CHARGE, Charge("user", "tokens", 90, 1, Sliding(6_000))]
    await store.reserve("org", "a", charges, now_ms=NOW, ttl_ms=60_000)
    admin.delete(*admin.scan_iter(match="*:fixed:*"), *admin.scan_iter(match="*:sliding:*"))
    assert await settle(store, "org", "a", {"tokens": 50}, now_ms=NOW)
    assert list(admin.scan_iter()) == [b"hr:{org}:lease:a"]


async def test_buckets_that_have_lapsed_are_removed(store: RedisStore, admin: "redis.Redis") -> None:
    charge = Charge("user", "tokens", 1_000, 1, Sliding(6_000))
    for n in range(300):
        await store.reserve("org", f"{n}", [charge], now_ms=NOW + 100 * n, ttl_ms=60_000)
    (key,) = admin.scan_iter(match="*:sliding:*")
    assert admin.hlen(key) == 61


async def test_a_server_that_forgets_plans_counts_on(store: Store) -> None:
    """Each plan has 256 counters and some 70 kB; the server remembers a megabyte of them."""
    held: list[Admitted | Exhausted] = []
    for turn in range(2):
        for caller in range(20):
            charges = [Charge(f"{caller}-{number}-{'x' * 200}", "tokens", 100, 10, CHARGE.window) for number in range(256)]
            held.append(await store.reserve("org", f"lease-{turn}-{caller}", charges, now_ms=NOW, ttl_ms=60_000))
    assert held == [Admitted((90,) * 256)] * 20 + [Admitted((80,) * 256)] * 20


async def test_an_open_lease_of_another_release_stands_as_reserved(store: Store, admin: "redis.Redis") -> None:
    assert await reserve(store, "ours") == Admitted((90,))
    admin.set(lease_key("org", "theirs"), msgspec.msgpack.encode([1, NOW + 60_000, [1, 90], "told", ["its keys"]]))
    ended = await store.settle_many("org", [Closing("theirs", {"tokens": 3}), Closing("ours", {"tokens": 3})], now_ms=NOW)
    assert [one.applied for one in ended] == [False, True]
    assert await store.read("org", [CHARGE], now_ms=NOW) == (3,)


FULL, REPLICA = ("--maxmemory", "1"), ("--replicaof", "127.0.0.1 1")


async def test_a_server_that_has_become_full_or_a_replica_does_not_answer_a_ping(tmp_path: Path) -> None:
    server = Server(tmp_path, free_ports(1)[0])
    server.start()
    store = open_store(f"redis://127.0.0.1:{server.port}")
    try:
        await store.ping()
        assert server.ask("KEYS", "*") == []
        server.ask("CONFIG", "SET", "maxmemory", 1)
        with pytest.raises(StoreUnavailable, match="the store refused: OOM"):
            await store.ping()
        server.ask("CONFIG", "SET", "maxmemory", 0)
        server.ask("REPLICAOF", "127.0.0.1", 1)
        with pytest.raises(StoreUnavailable, match="the store refused: READONLY"):
            await store.ping()
    finally:
        await store.close()
        server.kill()


@pytest.mark.parametrize(("option", "code"), [(FULL, "OOM"), (REPLICA, "READONLY")])
async def test_a_new_server_that_is_full_or_a_replica_lets_the_service_start(
    option: tuple[str, str], code: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(tmp_path, free_ports(1)[0], *option)
    server.start()
    store = open_store(f"redis://127.0.0.1:{server.port}")
    try:
        await check(store)
    finally:
        await store.close()
        server.kill()
    (line,) = [record for record in caplog.records if record.message == "starting without the store"]
    assert vars(line)["detail"].startswith(f"the store refused: {code} ")


@pytest.mark.parametrize(
    ("password", "reply"), [("", "Authentication required"), (":wrong@", "invalid username-password pair or user is disabled")]
)
async def test_a_server_that_wants_another_password_keeps_the_service_from_starting(
    password: str, reply: str, tmp_path: Path
) -> None:
    server = Server(tmp_path, free_ports(1)[0])
    server.start()
    server.ask("CONFIG", "SET", "requirepass", "right")
    store = open_store(f"redis://{password}127.0.0.1:{server.port}")
    try:
        with pytest.raises(StartError, match=f"^the store refused: {reply}; is it new enough"):
            await check(store)
    finally:
        await store.close()
        server.kill()


@pytest.mark.parametrize(
    ("query", "reply"), [("password=some", "AUTH <password> called without any password"), ("db=99", "DB index is out of range")]
)
async def test_a_server_that_refuses_the_connection_keeps_the_service_from_starting(query: str, reply: str, valkey: str) -> None:
    store = open_store(f"{valkey}?{query}")
    try:
        with pytest.raises(StartError, match=f"^the store refused: {reply}"):
            await check(store)
    finally:
        await store.close()


async def test_a_password_that_comes_later_is_asked_of_new_connections_alone(tmp_path: Path) -> None:
    server = Server(tmp_path, free_ports(1)[0])
    server.start()
    before, after = (open_store(f"redis://127.0.0.1:{server.port}") for _ in range(2))
    try:
        await before.ping()
        server.ask("CONFIG", "SET", "requirepass", "right")
        await before.ping()
        with pytest.raises(StoreUnavailable, match="the store refused: Authentication required"):
            await after.ping()
    finally:
        await before.close()
        await after.close()
        server.kill()
