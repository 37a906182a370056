"""What the pool writes down, and how it ends when the client does not behave."""

import asyncio
import base64
from collections.abc import AsyncIterator

import httpx
import pytest

from headrace.ext_proc.cli.simulate import SimulatedPool
from headrace.ext_proc.cli.simulate.books import LIMIT_ENTRIES, Books, Outcome

CHAT = "/v1/chat/completions"
HELLO = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
async def http(pool: SimulatedPool) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=pool.url, timeout=30) as client:
        yield client


async def test_a_request_is_booked_to_the_byte(http: httpx.AsyncClient, pool: SimulatedPool) -> None:
    body = b'{"model":"m",  "messages":[{"role":"user","content":"\\u0048i"}], "extra": 1.0}'
    answer = await http.post(f"{CHAT}?a=1", content=body, headers={"x-tenant": "mill"})
    assert answer.status_code == 200
    entry = pool.books.entries[-1]
    assert (entry.method, entry.path, entry.body, entry.status) == ("POST", f"{CHAT}?a=1", body, 200)
    assert (entry.header("x-tenant"), entry.header("x-other")) == ("mill", None)


async def test_the_books_are_served_and_cleared(http: httpx.AsyncClient, pool: SimulatedPool) -> None:
    await http.post(CHAT, json=HELLO)
    await http.post(CHAT, content=b"\xff\xfe")
    books = (await http.get("/books")).json()
    assert [entry["outcome"] for entry in books["entries"]] == ["complete", "refused"]
    assert (books["prompt_tokens"], books["completion_tokens"], books["dropped"]) == (8, 16, 0)
    assert base64.b64decode(books["entries"][1]["body_base64"]) == b"\xff\xfe"
    assert [entry["number"] for entry in (await http.get("/books?since=1")).json()["entries"]] == [2]
    assert (await http.get("/books?since=x")).status_code == 400
    assert (await http.delete("/books")).status_code == 204
    assert not pool.books.entries


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_hangs_up_pays_for_what_was_written(http: httpx.AsyncClient, pool: SimulatedPool, stream: bool) -> None:
    request = http.build_request("POST", CHAT, json=HELLO | {"stream": stream}, headers={"x-simulate": "tokens=100 stall=7"})
    sending = asyncio.create_task(http.send(request, stream=True))
    async with asyncio.timeout(10):
        await pool.books.until(lambda books: books.completion_tokens == 7)
        assert pool.books.entries[-1].outcome is Outcome.RUNNING
        if stream:
            await (await sending).aclose()
        else:
            sending.cancel()
        await pool.books.until(lambda books: not books.running)
    assert (pool.books.entries[-1].outcome, pool.books.completion_tokens) == (Outcome.CLIENT_GONE, 7)


async def test_an_event_is_written_when_it_is_made(http: httpx.AsyncClient, pool: SimulatedPool) -> None:
    headers = {"x-simulate": "tokens=5 stall=2"}
    async with http.stream("POST", CHAT, json=HELLO | {"stream": True}, headers=headers) as answer:
        lines = answer.aiter_lines()
        events = [line async for _, line in _first(lines, 6) if line]
    assert len(events) == 3
    assert '"content":" over"' in events[-1]


async def _first(lines: AsyncIterator[str], count: int) -> AsyncIterator[tuple[int, str]]:
    for at in range(count):
        yield at, await anext(lines)


async def test_a_json_answer_that_dies_has_no_body(http: httpx.AsyncClient, pool: SimulatedPool) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(CHAT, json=HELLO, headers={"x-simulate": "die=2"})
    await pool.books.until(lambda books: not books.running)
    assert (pool.books.entries[-1].outcome, pool.books.completion_tokens) == (Outcome.CUT, 2)


async def test_a_script_that_outlives_the_answer_changes_nothing(http: httpx.AsyncClient, pool: SimulatedPool) -> None:
    answer = await http.post(CHAT, json=HELLO, headers={"x-simulate": "tokens=2 die=3 stall=3 pace=1 delay=1"})
    assert answer.json()["usage"]["completion_tokens"] == 2
    assert pool.books.entries[-1].outcome is Outcome.COMPLETE


@pytest.mark.parametrize("body", [b"", b"[]", b'{"model": 1}', b'{"model":"m","messages":"x"}', b"[" * 5000, b'{"a":' * 5000])
@pytest.mark.parametrize("path", [CHAT, "/v1/completions", "/v1/responses", "/v1/embeddings", "/v1/messages"])
async def test_a_body_that_is_none_of_the_endpoints_is_refused(http: httpx.AsyncClient, path: str, body: bytes) -> None:
    answer = await http.post(path, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("asked", ["speed=3", "tokens=many", "tokens=-1", "fail=200", "usage=maybe"])
async def test_a_script_that_is_none_is_refused_with_the_reason(http: httpx.AsyncClient, asked: str) -> None:
    answer = await http.post(CHAT, json=HELLO, headers={"x-simulate": asked})
    assert answer.status_code == 400
    assert asked.partition("=")[0] in answer.json()["error"]["message"]


async def test_other_paths_and_methods_are_refused_and_booked(http: httpx.AsyncClient, pool: SimulatedPool) -> None:
    assert (await http.get("/v2/anything")).status_code == 404
    assert (await http.get(CHAT)).status_code == 405
    assert [entry.outcome for entry in pool.books.entries] == [Outcome.REFUSED] * 2


async def test_a_stopped_pool_cuts_what_is_running() -> None:
    async with httpx.AsyncClient(timeout=30) as client, SimulatedPool() as pool:
        sending = asyncio.create_task(client.post(f"{pool.url}{CHAT}", json=HELLO, headers={"x-simulate": "stall=1"}))
        async with asyncio.timeout(10):
            await pool.books.until(lambda books: books.completion_tokens == 1)
    with pytest.raises(httpx.HTTPError):
        (await sending).raise_for_status()
    assert pool.books.entries[-1].outcome is Outcome.CUT


def test_old_entries_are_dropped_and_counted() -> None:
    books = Books()
    for _ in range(LIMIT_ENTRIES + 2):
        books.open("GET", "/", (), b"")
    assert (len(books.entries), books.dropped, books.entries[0].number) == (LIMIT_ENTRIES, 2, 3)


def test_bodies_are_kept_up_to_a_total(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.ext_proc.cli.simulate.books.LIMIT_BYTES", 10)
    books = Books()
    for body in (b"12345", b"1234567", b"123456789012"):
        books.open("POST", "/", (), body)
    assert [entry.body for entry in books.entries] == [b"123456789012"]
    assert books.dropped == 2
