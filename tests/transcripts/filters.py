"""Filters for transcripts of what every filter can do, whatever it is for."""

from collections.abc import Sequence
from typing import Any, ClassVar

from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.session import EndStream, Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Continue, Edits, Reply, SetMember, Verdict
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.settings import FilterSettings

ANSWER = Needs.REQUEST_BODY | Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM


class Shout:
    """Answers to chats come in capitals; a stream is held back by one event."""

    name: ClassVar[str] = "shout"
    Settings: ClassVar[type[FilterSettings]] = FilterSettings

    def __init__(self, settings: FilterSettings, build: Build) -> None:
        pass

    def open(self, request: Request) -> Session:
        return ShoutSession()


class ShoutSession(Session):
    needs = ANSWER

    def __init__(self) -> None:
        self._held: tuple[SseEvent, ...] = ()

    async def on_response(self, response: Response) -> Verdict:
        if not isinstance(response.document, dict) or "choices" not in response.document:
            return PASS
        said = response.document["choices"][0]["message"]["content"].upper()
        return Continue(Edits(members=[SetMember(("choices", 0, "message", "content"), said)]))

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        out, self._held = self._held, (_loud(event),)
        return out

    def on_stream_end(self) -> Sequence[SseEvent]:
        return self._held


def _loud(event: SseEvent) -> SseEvent:
    document: Any = event.json
    if not isinstance(document, dict) or not document.get("choices"):
        return event
    document["choices"][0]["delta"]["content"] = document["choices"][0]["delta"]["content"].upper()
    return event.with_json(document)


class StopSettings(FilterSettings):
    """word: the answer ends where it comes up."""

    word: str = "stop"


class Stop:
    """Ends a stream before the event that has a word in it, and replaces a whole answer that has."""

    name: ClassVar[str] = "stop"
    Settings: ClassVar[type[FilterSettings]] = StopSettings

    def __init__(self, settings: StopSettings, build: Build) -> None:
        self.word = settings.word.encode()

    def open(self, request: Request) -> Session:
        return StopSession(self.word)


STOPPED = Reply(403, "stop.word", "The answer had a word that must not be said.")


class StopSession(Session):
    needs = ANSWER

    def __init__(self, word: bytes) -> None:
        self._word = word

    async def on_response(self, response: Response) -> Verdict:
        return STOPPED if self._word in response.body else PASS

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        if self._word in event.raw:
            raise EndStream(STOPPED)
        return (event,)


class BrokenSettings(FilterSettings):
    """hook: the one that fails."""

    hook: str = "on_request"


class Broken:
    """Fails."""

    name: ClassVar[str] = "broken"
    Settings: ClassVar[type[FilterSettings]] = BrokenSettings

    def __init__(self, settings: BrokenSettings, build: Build) -> None:
        self.hook = settings.hook

    def open(self, request: Request) -> Session:
        return BrokenSession(self.hook)


class BrokenSession(Session):
    def __init__(self, hook: str) -> None:
        self._hook = hook
        self.needs = Needs.REQUEST_BODY if hook == "on_request" else ANSWER

    def _fail(self, hook: str) -> None:
        if hook == self._hook:
            raise RuntimeError(hook)

    async def on_request(self, request: Request) -> Verdict:
        self._fail("on_request")
        return PASS

    async def on_response(self, response: Response) -> Verdict:
        self._fail("on_response")
        return PASS

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        self._fail("on_event")
        return (event,)
