"""The server behind a pool is picked by its own metrics, through real Envoy."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.site import MODEL, Caller, Site, chat, lean_chain, running_site, until
from tests.envoy.stub_upstream import Received, Reply, StubUpstream

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@dataclass
class Server:
    """One server of vLLM's kind: it says of itself what a test sets, and answers chats."""

    stub: StubUpstream
    running: int = 0
    waiting: int = 0
    cache: float = 0.0
    said: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> str:
        return self.stub.url.removeprefix("http://")

    @property
    def chats(self) -> Sequence[Received]:
        return [request for request in self.stub.received if request.method == "POST"]

    async def answer(self, request: Received, reply: Reply) -> None:
        if request.path != "/metrics":
            await reply.whole(b'{"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 1}}')
            return
        values = {"num_requests_running": self.running, "num_requests_waiting": self.waiting, "kv_cache_usage_perc": self.cache}
        text = "".join(f"vllm:{name} {value}\n" for name, value in values.items())
        await reply.whole(text.encode(), "text/plain; version=0.0.4")
        self.said.set()

    async def say(self, **values: Any) -> None:
        """Returns when the service has heard it: when it asks for the second time."""
        for name, value in values.items():
            setattr(self, name, value)
        for _ in range(2):
            self.said.clear()
            await self.said.wait()


@contextlib.asynccontextmanager
async def two_servers() -> AsyncIterator[tuple[Site, Server, Server]]:
    async with StubUpstream("a") as one, StubUpstream("b") as two:
        servers = Server(one), Server(two)
        for server in servers:
            server.stub.answer = server.answer
        pool = {"servers": [server.address for server in servers], "metrics": "vllm", "max_queue": 2}
        model = {"name": MODEL, "price": {"input": 1, "output": 1}, "max_output": 16, "pools": [{"upstream": "standard"}]}
        site = running_site(of_upstreams={"standard": pool}, models=[model], filters=lean_chain())
        async with site as running:
            caller = await running.caller()

            async def heard() -> bool:
                return (await running.post(caller, chat("are you there"))).status_code == 200

            await until(heard, "the servers to have been heard of")
            yield running, *servers


async def ask(site: Site, caller: Caller, text: str) -> int:
    return (await site.post(caller, chat(text))).status_code


async def test_requests_go_where_there_is_room() -> None:
    async with two_servers() as (site, one, two):
        caller = await site.caller()
        await one.say(waiting=2)
        before = len(one.chats), len(two.chats)
        for number in range(4):
            assert await ask(site, caller, f"prompt {number}") == 200
        assert (len(one.chats), len(two.chats)) == (before[0], before[1] + 4)
        assert not [name for name in two.chats[-1].headers if name.startswith(("x-gateway", "x-headrace"))]

        await one.say(waiting=0)
        await two.say(cache=0.99)
        assert await ask(site, caller, "another") == 200
        assert len(one.chats) == before[0] + 1

        await one.say(waiting=3)
        answer = await site.post(caller, chat("one too many"))
        assert answer.status_code == 429
        assert answer.json()["error"]["code"] == "routing.busy"
        assert answer.headers["retry-after"] == "1"


async def test_a_conversation_stays_where_it_began() -> None:
    async with two_servers() as (site, one, two):
        caller = await site.caller()
        turns: list[dict[str, str]] = [{"role": "user", "content": "let us talk"}]
        await one.say(running=3)
        for number in range(3):
            assert (await site.post(caller, chat() | {"messages": turns})).status_code == 200
            await two.say(running=5 + number)
            turns += [{"role": "assistant", "content": "yes"}, {"role": "user", "content": f"turn {number}"}]
        talks = [len([chat for chat in server.chats if b"let us talk" in chat.body]) for server in (one, two)]
        assert talks == [0, 3]


async def test_servers_that_say_nothing_are_full() -> None:
    model = {"name": MODEL, "price": {"input": 1, "output": 1}, "max_output": 16, "pools": [{"upstream": "standard"}]}
    silent = {"servers": ["127.0.0.1:1"], "metrics": "vllm"}
    async with running_site(of_upstreams={"standard": silent}, models=[model], filters=lean_chain()) as site:
        answer = await site.post(await site.caller(), chat())
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "routing.no_server"
        assert answer.headers["retry-after"] == "1"
