"""An upstream that stops in the middle of its answer until a test says how it goes on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tests.e2e.site import Site, running_site
from tests.envoy.stub_upstream import Received, Reply, StubUpstream

DELTA = b'data: {"choices": [{"index": 0, "delta": {"content": " water"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Halfway:
    """Says one token at once, and then waits for `go_on`, for `die`, or for the gateway to hang up."""

    def __init__(self) -> None:
        self._ending: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.hung_up = asyncio.Event()

    def go_on(self) -> None:
        """One token more, and a proper end."""
        self._ending.set_result(True)

    def die(self) -> None:
        """The connection is cut."""
        self._ending.set_result(False)

    async def answer(self, _: Received, reply: Reply) -> None:
        await reply.begin()
        await reply.send(DELTA)
        gone = asyncio.create_task(reply.gone())
        await asyncio.wait((self._ending, gone), return_when=asyncio.FIRST_COMPLETED)
        if gone.done():
            self.hung_up.set()
            return
        gone.cancel()
        await asyncio.wait([gone])
        if not self._ending.result():
            raise ConnectionAbortedError
        await reply.send(DELTA)
        await reply.send(DONE)
        await reply.end()


@contextlib.asynccontextmanager
async def halfway_site() -> AsyncIterator[tuple[Site, Halfway]]:
    """A site whose pool `standard` it is."""
    halfway = Halfway()
    async with StubUpstream("standard") as upstream:
        upstream.answer = halfway.answer
        async with running_site(upstreams={"standard": upstream.url}) as site:
            yield site, halfway
