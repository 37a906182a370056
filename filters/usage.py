"""Sees to it that the provider's usage is reported, and says what the tokens cost; `budget` settles by it."""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.facts import INPUT_TOKENS, MODEL, Fact
from headrace.ext_proc.core.needs import Capability, Needs
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.terms import KEEPS_RESERVED, PRICE, SIZES_STREAMS
from headrace.ext_proc.core.verdict import NO_EDITS, Continue, Edits, SetMember, Verdict
from headrace.ext_proc.engine.prices import Prices
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.settings import FilterSettings

# The APIs whose streams report usage only on request; the others always do.
_ON_REQUEST = {Endpoint.CHAT, Endpoint.COMPLETIONS}


class UsageSettings(FilterSettings):
    """How the usage of streamed answers is learned."""

    include_usage: Literal["force", "as_asked"] = Field(
        "force",
        description="force: a streamed request that does not ask for usage is made to ask (stream_options.include_usage). "
        "as_asked: left alone; a stream without usage is charged as on_hang_up says.",
    )
    continuous: bool = Field(
        False,
        description="Ask for usage in every event (stream_options.continuous_usage_stats), so that a client that hangs up is "
        "charged exactly without its stream being read here. vLLM knows this option; OpenAI refuses it.",
    )
    usage_chunk: Literal["keep", "remove"] = Field(
        "keep",
        description="The usage event that a client did not ask for. keep: it gets it, unless its stream is read here anyway. "
        "remove: its stream is read here so that the event can be taken out; this costs time per event.",
    )
    on_hang_up: Literal["auto", "reserved", "count"] = Field(
        "auto",
        description="What a stream that ends without usage costs. count: what was streamed, counted here; this costs time per "
        "event. reserved: what was reserved. auto: what was streamed where the stream is read here anyway, else what its size "
        "tells by other streams of the model, and what was reserved until enough of them are known.",
    )


class UsageFilter:
    """Needs nothing of an answer where the gateway reports usage itself."""

    name: ClassVar[str] = "usage"
    Settings: ClassVar[type[FilterSettings]] = UsageSettings

    def __init__(self, settings: UsageSettings, build: Build) -> None:
        self.settings = settings
        self.catalogue = build.catalogue
        self.prices = Prices(build.catalogue)

    def open(self, request: Request) -> Session:
        return UsageSession(self, request)


class UsageSession(Session):
    needs = Needs.REQUEST_BODY
    joins = Needs.RESPONSE_STREAM

    def __init__(self, filter: UsageFilter, request: Request) -> None:
        self._settings = filter.settings
        self._catalogue = filter.catalogue
        self._prices = filter.prices
        self._hide = False
        if Capability.ACCESS_LOG not in request.capabilities:
            self.needs = Needs.REQUEST_BODY | Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM

    async def on_request(self, request: Request) -> Verdict:
        call = request.call
        if call.beside:  # the gateway reads sums alone
            self.needs |= Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM
        elif call.stream and self._watches(asked=bool(call.include_usage)):
            self.needs |= Needs.RESPONSE_STREAM
        self._hide = call.stream and not call.include_usage
        members = _stream_options(request, self._settings)
        edits = Edits(members=members) if members else NO_EDITS
        model = self._catalogue.of(request)
        if model is None:
            return Continue(edits)
        price = request.facts.get(PRICE) or self._prices.of(model, call.model, request.facts.get(INPUT_TOKENS) or 0)
        on_hang_up = self._settings.on_hang_up
        facts: dict[Fact[Any], Any] = {
            MODEL: model.name,
            KEEPS_RESERVED: on_hang_up == "reserved",
            SIZES_STREAMS: on_hang_up == "auto",
        }
        if price is not None:
            facts[PRICE] = price
        return Continue(edits, facts=facts, metadata={"model": model.name})

    def _watches(self, *, asked: bool) -> bool:
        return self._settings.on_hang_up == "count" or (self._settings.usage_chunk == "remove" and not asked)

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        """Takes out the usage that the client did not ask for; the exchange's meter has read it by now."""
        if not self._hide or b'"usage"' not in event.raw:
            return (event,)
        document = event.json
        if not isinstance(document, dict) or "choices" not in document or not isinstance(document.get("usage"), dict):
            return (event,)
        if not document["choices"]:
            return ()
        return (event.with_json({name: value for name, value in document.items() if name != "usage"}),)


def _stream_options(request: Request, settings: UsageSettings) -> list[SetMember]:
    """The members to set, so that a streamed answer reports its usage."""
    call = request.call
    if not call.stream or request.endpoint not in _ON_REQUEST or settings.include_usage == "as_asked":
        return []
    wanted = {} if call.include_usage else {"include_usage": True}
    if settings.continuous:
        wanted["continuous_usage_stats"] = True
    assert request.document is not None, "a call was read from it"
    if request.document.get("stream_options") is None:
        return [SetMember(("stream_options",), wanted)] if wanted else []
    return [SetMember(("stream_options", name), value) for name, value in wanted.items()]
