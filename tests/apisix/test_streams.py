"""Streamed answers through the plugin and a service of its own: nothing stalls or passes unseen, and everything is settled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest
import pytest_asyncio

from tests.apisix.nginx import missing
from tests.apisix.streaming import DONE, READING, Site, delta, streaming_site, words
from tests.envoy.stub_upstream import Received, Reply
from tests.transcripts.site import WAIT

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]

ROUTES = pytest.mark.parametrize("route", ["plain", "ai"])
CUT = "gateway.cut"
FIRST = "The mill turns its wheel from early in the morning to late at night.\n"
"""A segment as `pii` searches it: 12 words, and a line's end. No stream is held back for longer."""
LAST = "On and on it goes, and the river pays no heed to the wheel.\n"
DEATH = "the model dies"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Site]:
    async with streaming_site() as site:
        yield site


@pytest_asyncio.fixture(loop_scope="module")
async def site(running: Site) -> Site:
    running.closed.log.write_text("")
    return running


class Said:
    """What a caller has of a stream so far."""

    def __init__(self, answer: httpx.Response) -> None:
        self._pieces = answer.aiter_raw()
        self.said = b""

    @property
    def words(self) -> str:
        return words(self.said.replace(b":\n\n", b""))

    async def until(self, wanted: str) -> None:
        """Reads on until these words have come. Fails when the stream ends, or nothing comes, before."""
        async with asyncio.timeout(WAIT):
            while wanted not in self.words:
                self.said += await anext(self._pieces)

    async def rest(self) -> str:
        async for piece in self._pieces:
            self.said += piece
        return self.words


class Turns:
    """A model that says the next words when it is told to. hung_up: the gateway has closed the connection."""

    def __init__(self, *first: str) -> None:
        self._words: asyncio.Queue[str | None] = asyncio.Queue()
        self.hung_up = asyncio.Event()
        for text in first:
            self.say(text)

    def say(self, text: str | None) -> None:
        """None: the end."""
        self._words.put_nowait(text)

    def die(self) -> None:
        self._words.put_nowait(DEATH)

    async def answer(self, _: Received, reply: Reply) -> None:
        await reply.begin()
        leaving = asyncio.create_task(self._leaving(reply))
        try:
            while (text := await self._words.get()) is not None:
                if text is DEATH:
                    raise ConnectionAbortedError
                await reply.send(delta(text))
            await reply.send(DONE)
            await reply.end()
        finally:
            leaving.cancel()
            await asyncio.wait([leaving])

    async def _leaving(self, reply: Reply) -> None:
        await reply.gone()
        self.hung_up.set()
        self.die()


@ROUTES
async def test_an_address_split_over_chunks_is_scrubbed_and_nothing_waits_that_need_not(route: str, site: Site) -> None:
    """The model says its next words only when the caller has every segment before them."""
    turns = Turns(FIRST)
    site.upstream.answer = turns.answer
    async with site.stream(route) as answer:
        said = Said(answer)
        await said.until(FIRST)
        for text in ["Write to jane.d", "oe@exam", "ple.com where you have any", " question about the mill and its wheel.\n"]:
            turns.say(text)
        await said.until("its wheel.\n")
        turns.say(LAST)
        await said.until(LAST)
        turns.say(None)
        scrubbed = "Write to <EMAIL_ADDRESS> where you have any question about the mill and its wheel.\n"
        assert await said.rest() == FIRST + scrubbed + LAST
    assert said.said.endswith(b"data: [DONE]\n\n")
    assert (await site.settled(answer))[:2] == ("completed", "settled")


@ROUTES
async def test_five_thousand_chunks_without_a_gap(route: str, site: Site) -> None:
    texts = [f"{number} " for number in range(5000)]

    async def pour(_: Received, reply: Reply) -> None:
        await reply.begin()
        for text in texts:
            await reply.send(delta(text))
        await reply.send(DONE)
        await reply.end()

    site.upstream.answer = pour
    async with site.stream(route) as answer:
        assert await Said(answer).rest() == "".join(texts)
    outcome, settled, usage = await site.settled(answer)
    assert (outcome, settled) == ("completed", "settled")
    assert (usage["input_tokens"], usage["output_tokens"]) == (8, 5)


@ROUTES
async def test_exchanges_follow_each_other_on_one_connection(route: str, site: Site) -> None:
    """Nothing is said in the log: no connection was refused and asked again."""
    site.upstream.answer = _one_word
    for _ in range(5):
        async with site.stream(route) as answer:
            assert await Said(answer).rest() == "water"
        await site.settled(answer)
    assert site.closed.log.read_text() == ""


async def _one_word(_: Received, reply: Reply) -> None:
    await reply.begin()
    await reply.send(delta("water"))
    await reply.send(DONE)
    await reply.end()


@ROUTES
async def test_a_caller_who_leaves_pays_for_what_was_streamed(route: str, site: Site) -> None:
    turns = Turns(FIRST)
    site.upstream.answer = turns.answer
    async with site.stream(route) as answer:
        await Said(answer).until(FIRST)
    async with asyncio.timeout(WAIT):
        await turns.hung_up.wait()
    outcome, settled, usage = await site.settled(answer)
    assert (outcome, settled) == ("aborted", "settled")
    assert usage["input_tokens"] == 8
    assert 10 < usage["output_tokens"] < 20


@ROUTES
async def test_an_upstream_that_dies_in_mid_stream_is_paid_for_what_was_streamed(route: str, site: Site) -> None:
    turns = Turns(FIRST)
    site.upstream.answer = turns.answer
    with pytest.raises(httpx.RemoteProtocolError):
        async with site.stream(route) as answer:
            said = Said(answer)
            await said.until(FIRST)
            turns.die()
            await said.rest()
    assert (await site.settled(answer))[:2] == ("aborted", "settled")


@ROUTES
async def test_an_upstreams_error_costs_nothing(route: str, site: Site) -> None:
    async def fail(_: Received, reply: Reply) -> None:
        reply.status = 500
        await reply.whole(b'{"error": {"message": "out of memory"}}')

    site.upstream.answer = fail
    answer = await site.chat(route)
    assert (answer.status_code, answer.json()["error"]["message"]) == (500, "out of memory")
    assert (await site.settled(answer))[:2] == ("completed", "released")


async def test_an_upstream_that_hangs_up_without_an_answer_is_a_503(site: Site) -> None:
    async def hang_up(_: Received, reply: Reply) -> None:
        await reply.hang_up()

    site.upstream.answer = hang_up
    answer = await site.chat("plain")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "upstream.unavailable")
    assert (await site.settled(answer))[0] == "aborted"


async def test_the_service_killed_in_mid_stream() -> None:
    """The rest must not pass unseen: an error ends the stream, and the model is told to stop. Where it may, the rest passes."""
    models: list[Turns] = []

    async def answer(received: Received, reply: Reply) -> None:
        models.append(Turns(FIRST))
        await models[-1].answer(received, reply)

    async with streaming_site(READING) as site, AsyncExitStack() as stack:
        site.upstream.answer = answer
        streams = [(route, passing) for passing in (False, True) for route in ("plain", "ai")]
        said = [Said(await stack.enter_async_context(site.stream(route, passing=passing))) for route, passing in streams]
        for stream in said:
            await stream.until(FIRST)
        site.kill()
        for model in models:
            model.say(LAST)
        for model in models[2:]:
            model.say(None)
        for stream in said:
            await stream.rest()
        for cut, model in zip(said[:2], models, strict=False):
            assert cut.words == FIRST
            assert CUT in cut.said.decode().split("\n\n")[-2]
            async with asyncio.timeout(WAIT):
                await model.hung_up.wait()
        assert [passed.words for passed in said[2:]] == [FIRST + LAST] * 2
        assert all(passed.said.endswith(b"data: [DONE]\n\n") for passed in said[2:])
