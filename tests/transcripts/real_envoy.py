"""Driver: real Envoy between an HTTP client and model servers, with the service in this process. One stand plays everything."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from headrace.ext_proc.core.effects import Effect
from headrace.ext_proc.envoy.access_log import AccessLog
from headrace.ext_proc.envoy.config.bootstrap import render_bootstrap
from headrace.ext_proc.envoy.config.names import UsageReader
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings, Upstream
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.processor import Processor
from headrace.ext_proc.envoy.services import methods
from headrace.ext_proc.envoy.transport import Transport, listen
from tests.e2e.envoy_process import running_envoy, short_directory
from tests.envoy.stub_upstream import Received as Arrived
from tests.envoy.stub_upstream import Reply, StubUpstream
from tests.transcripts import model
from tests.transcripts.gateway import cut_events
from tests.transcripts.model import Received, Seen, Turn
from tests.transcripts.site import WAIT, Site, until

POOLS = ("standard", "high-memory")


@dataclass
class Stand:
    """`site` is the transcript's that is being played. noise: what the gateway puts into streams of its own accord."""

    upstreams: Sequence[StubUpstream] = ()
    client: httpx.AsyncClient = field(default_factory=httpx.AsyncClient)
    site: Site | None = None
    noise: bytes = b""

    @property
    def now(self) -> Site:
        assert self.site is not None
        return self.site

    def processor(self) -> Processor:
        return Processor(lambda: self.now.policy, lambda: self.now.new_id(), self.submit, lambda: 0)

    def submit(self, effects: Sequence[Effect]) -> None:
        self.now.submit(effects)

    async def play(self, turn: Turn, cut: int | None, *, settled: int) -> Seen:
        """What was seen, once so many leases have been settled or released."""
        for upstream in self.upstreams:
            upstream.received.clear()
            upstream.answer = _answering(turn.upstream, cut)
        seen = await self._ask(turn)
        await until(lambda: len(self.now.decisions) == 1, "the exchange to be closed")
        await until(lambda: len(self.now.settled) >= settled, f"{settled} settlements")
        await self.now.idle()
        seen.received = self._received()
        seen.settled, seen.decision = self.now.settled, self.now.decisions[0].members
        return seen

    async def _ask(self, turn: Turn) -> Seen:
        asked, upstream = turn.request, turn.upstream
        enough = None if upstream.hangs_up_after is None else len(b"".join((upstream.events or ())[: upstream.hangs_up_after]))
        body = asked.body or None
        async with self.client.stream(asked.method, asked.path, content=body, headers=dict(asked.headers)) as answer:
            got = b""
            async for piece in answer.aiter_raw():
                got = (got + piece).replace(self.noise, b"") if self.noise else got + piece
                if enough is not None and len(got) >= enough:
                    break
        return Seen(status=answer.status_code, headers=dict(answer.headers), body=got)

    def _received(self) -> Received | None:
        arrived = [(upstream.name, request) for upstream in self.upstreams for request in upstream.received]
        assert len(arrived) <= 1, "a request reached upstreams more than once"
        return next((Received(name, request.headers, request.body) for name, request in arrived), None)


def _answering(upstream: model.Upstream, cut: int | None) -> Callable[[Arrived, Reply], Awaitable[None]]:
    headers = {name.replace("-", "_"): value for name, value in upstream.headers.items()}

    async def answer(_: Arrived, reply: Reply) -> None:
        reply.status = upstream.status
        if upstream.events is None:
            await reply.whole(upstream.body, **headers)
            return
        await reply.begin(**headers)
        for chunk in cut_events(upstream.events[: upstream.hangs_up_after], cut):
            await reply.send(chunk)
        if upstream.hangs_up_after is None:
            await reply.end()
        else:
            await reply.gone()

    return answer


@asynccontextmanager
async def serving(stand: Stand, transport: Transport) -> AsyncIterator[Path]:
    """The stand's pools, and the service at `w.sock` in the directory that this gives."""
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(short_directory())
        stand.upstreams = [await stack.enter_async_context(StubUpstream(name)) for name in POOLS]
        served = methods(stand.processor(), AccessLog(stand.submit), Health(lambda: True))
        server = listen(transport, served, f"unix:{folder}/w.sock")
        await server.start()
        stack.push_async_callback(server.stop, 0)
        yield folder


@asynccontextmanager
async def running_stand(transport: Transport, usage: UsageReader = UsageReader.GATEWAY) -> AsyncIterator[Stand]:
    stand = Stand()
    async with AsyncExitStack() as stack:
        folder = await stack.enter_async_context(serving(stand, transport))
        settings = GatewaySettings(
            upstreams=tuple(Upstream(name=upstream.name, url=upstream.url) for upstream in stand.upstreams),
            service=(Address(path=f"{folder}/w.sock"),),
            listen=Address(host="127.0.0.1", port=0),
            usage=usage,
        )
        envoy = await stack.enter_async_context(running_envoy(render_bootstrap(settings)))
        base = f"http://127.0.0.1:{await envoy.port()}"
        stand.client = await stack.enter_async_context(httpx.AsyncClient(base_url=base, timeout=WAIT))
        yield stand
