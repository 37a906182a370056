"""nginx with the plugin in front of a service that a test scripts frame by frame, and a model server behind it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.apisix.nginx import Nginx, running_nginx
from tests.apisix.raw_peer import RawPeer, raw_peer
from tests.e2e.envoy_process import short_directory
from tests.envoy.stub_upstream import StubUpstream
from tests.transcripts.site import WAIT

PATH = "/v1/chat/completions"
CHAT = b'{"model": "m", "messages": []}'
PATIENT_MS, HASTY_MS = 10_000, 400
"""What the plugin gives one answer: more than any test takes, and what tests of silence wait for."""


@dataclass
class Stand:
    """The same routes through two nginx: one that refuses what it could not ask about, and one that lets it pass."""

    peer: RawPeer
    upstream: StubUpstream
    closed: Nginx
    open: Nginx
    clients: Mapping[Path, httpx.AsyncClient]
    """By the socket of the route."""

    async def post(self, body: bytes = CHAT, *, path: str = PATH, passing: bool = False, ai: bool = False) -> httpx.Response:
        """passing: through the one that lets requests pass. ai: behind ai-proxy."""
        nginx = self.open if passing else self.closed
        return await self.clients[nginx.ai if ai else nginx.plain].post(path, content=body)

    def logged(self, nginx: Nginx | None = None) -> str:
        """What an nginx has said since it was last asked."""
        log = (nginx or self.closed).log
        said = log.read_text()
        log.write_text("")
        return said

    async def rest(self) -> None:
        await self.peer.rest()
        self.upstream.received.clear()
        self.logged()
        self.logged(self.open)


@asynccontextmanager
async def faulty_stand(*, tcp: bool = False, others: Sequence[str] = (), **conf: Any) -> AsyncIterator[Stand]:
    """tcp: the service listens on loopback, not on a Unix socket. others: addresses that are asked, too. conf: of the plugin."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_directory())
        upstream = await stack.enter_async_context(StubUpstream("standard"))
        peer, address = await stack.enter_async_context(raw_peer(None if tcp else folder / "p.sock"))
        servers = {"standard": ("127.0.0.1", httpx.URL(upstream.url).port or 80)}
        settings = {"service": [*others, address], **conf}
        allowed = settings | {"failure_mode_allow": {"request": True, "response": True}}
        closed = await stack.enter_async_context(running_nginx(stack.enter_context(short_directory()), settings, servers))
        opened = await stack.enter_async_context(running_nginx(stack.enter_context(short_directory()), allowed, servers))
        routes = (closed.plain, closed.ai, opened.plain, opened.ai)
        clients = {route: await stack.enter_async_context(_client(route)) for route in routes}
        yield Stand(peer, upstream, closed, opened, clients)


def _client(route: Path) -> httpx.AsyncClient:
    transport = httpx.AsyncHTTPTransport(uds=str(route), verify=False)
    return httpx.AsyncClient(base_url="http://gateway", transport=transport, timeout=WAIT)
