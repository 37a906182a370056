"""Filters of the simulation: witnesses at both ends of the chain, and one in its middle that fails in every way there is."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from headrace.ext_proc.core.effects import Effect, Outcome
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Reply, Verdict
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.settings import FilterSettings
from tests.simulation.story import Story, story_of

DENIED = Reply(403, "sim.denied", "No.")

KINDS = ("passes", "raises", "hangs", "is slow", "denies", "forgets its verdict")
SLOW_MS = 1500
"""Some of it is more than the second that a filter may take."""


class Sabotage(Exception):
    """A filter's defect."""


class WitnessSettings(FilterSettings):
    """label: the policy it stands in."""

    label: str


class Witness:
    """Notes for every exchange that it was asked, under which policy."""

    name: ClassVar[str]
    Settings: ClassVar[type[FilterSettings]] = WitnessSettings

    def __init__(self, settings: WitnessSettings, build: Build) -> None:
        self.label = settings.label

    def open(self, request: Request) -> Session:
        story = story_of(request.id)
        story.heard(self.name, "open", self.label)
        return WitnessSession(self, story)


class First(Witness):
    name = "first"


class Last(Witness):
    name = "last"


class WitnessSession(Session):
    needs = Needs.REQUEST_BODY

    def __init__(self, witness: Witness, story: Story) -> None:
        self._witness, self._story = witness, story

    async def on_request(self, request: Request) -> Verdict:
        self._story.heard(self._witness.name, "request", self._witness.label)
        return PASS

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        self._story.heard(self._witness.name, "close", self._witness.label)
        return ()


class Saboteur:
    """Fails where the exchange's lane says so."""

    name: ClassVar[str] = "saboteur"
    Settings: ClassVar[type[FilterSettings]] = FilterSettings

    def __init__(self, settings: FilterSettings, build: Build) -> None:
        self._closed = settings.on_error == "closed"

    def open(self, request: Request) -> Session:
        story = story_of(request.id)
        session = SabotagedSession(story, closed=self._closed)
        session.sync("open")
        return session


class SabotagedSession(Session):
    needs = Needs.REQUEST_BODY
    joins = Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM

    def __init__(self, story: Story, *, closed: bool) -> None:
        self._story, self._closed = story, closed

    def sync(self, hook: str) -> None:
        """Raises Sabotage."""
        if self._story.sabotage.happens(self._story.weather.filters / 4, f"saboteur raises in {hook}"):
            self._failed(hook)
            raise Sabotage(hook)

    def _failed(self, hook: str) -> None:
        if self._closed and hook in ("open", "headers", "request"):
            self._story.doomed = f"the saboteur failed in {hook}"

    async def _verdict(self, hook: str) -> Verdict:
        lane = self._story.sabotage
        match KINDS[lane.pick(len(KINDS), self._story.weather.filters, f"saboteur in {hook}")]:
            case "raises":
                self._failed(hook)
                raise Sabotage(hook)
            case "hangs":
                self._failed(hook)
                await asyncio.get_running_loop().create_future()
            case "is slow":
                await asyncio.sleep(lane.ms(SLOW_MS, 1.0, "takes"))
            case "forgets its verdict":
                self._failed(hook)
                return None  # type: ignore[return-value]  # as a careless filter does
            case "denies":
                if hook != "response":
                    self._story.doomed = f"the saboteur denied in {hook}"
                return DENIED
        return PASS

    async def on_headers(self, request: Request) -> Verdict:
        return await self._verdict("headers")

    async def on_request(self, request: Request) -> Verdict:
        return await self._verdict("request")

    async def on_response(self, response: Response) -> Verdict:
        return await self._verdict("response")

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        self.sync("event")
        return (event,)

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        self.sync("close")
        return ()
