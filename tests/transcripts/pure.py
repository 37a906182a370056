"""Driver: the exchange itself, through `step`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from headrace.ext_proc.core.effects import Cause, Effect
from headrace.ext_proc.core.events import (
    Answer,
    Deliver,
    Event,
    Proceed,
    Refuse,
    RequestBody,
    RequestHeaders,
    ResponseBody,
    ResponseHeaders,
)
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.settlement import Finished, settlement
from headrace.ext_proc.engine.guard import shield
from headrace.ext_proc.engine.step import step
from tests.transcripts.site import Site

A = TypeVar("A", Proceed, Deliver)


class PureService:
    """One exchange of a site."""

    def __init__(self, site: Site) -> None:
        self._submit: Callable[[Sequence[Effect]], None] = site.submit
        self._exchange = Exchange(site.new_id(), site.policy, shield, capabilities=Capability.ACCESS_LOG)

    async def headers(self, event: RequestHeaders) -> Proceed | Refuse:
        return self._one_of(Proceed, await self._step(event))

    async def body(self, event: RequestBody) -> Proceed | Refuse:
        return self._one_of(Proceed, await self._step(event))

    async def answer_headers(self, event: ResponseHeaders) -> Proceed | Refuse:
        return self._one_of(Proceed, await self._step(event))

    async def whole(self, body: bytes) -> Deliver | Refuse:
        answer = self._one_of(Deliver, await self._step(ResponseBody(body, end=True)))
        self._close(Cause.FAILED)
        return answer

    async def stream(self, chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
        """An empty last chunk ends the stream; without it the upstream is still answering."""
        for index, chunk in enumerate(chunks):
            answer = await self._step(ResponseBody(chunk, end=not chunk and index == len(chunks) - 1))
            assert isinstance(answer, Deliver)
            yield answer.data
            if answer.end:
                self._close(Cause.FAILED)
                return

    async def hang_up(self) -> None:
        self._close(Cause.ABORTED)

    async def log(self, entry: Finished) -> None:
        self._submit(settlement(entry))

    async def _step(self, event: Event) -> Answer:
        return await step(self._exchange, event, deadline=asyncio.get_running_loop().time() + 30)

    def _one_of(self, kind: type[A], answer: Answer) -> A | Refuse:
        assert isinstance(answer, kind | Refuse), answer
        if isinstance(answer, Refuse) or (isinstance(answer, Proceed) and answer.last):
            self._close(Cause.FAILED)
        return answer

    def _close(self, cause: Cause) -> None:
        """A cause of its own means that the exchange did not know it was over."""
        self._submit(self._exchange.close(cause))
