"""One exchange: the request searched and rewritten, the answer restored and scrubbed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from headrace.ext_proc.core.effects import Effect, Outcome, Record
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.core.principal import ANONYMOUS, PRINCIPAL
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Reply, Verdict
from headrace.filters.pii.actions import Step, Substitutes, nothing
from headrace.filters.pii.allowance import ModelsLate, SearchLate, unlimited
from headrace.filters.pii.answer import Answer, Scrubbing
from headrace.filters.pii.lateness import allowance_of, answers_allowance_of, too_late, waiting_room
from headrace.filters.pii.paths import RULES, TOKEN_LISTS
from headrace.filters.pii.placeholders import Placeholders, tenant_key
from headrace.filters.pii.scan import INLINE, Scan, Searcher
from headrace.filters.pii.settings import PiiSettings
from headrace.filters.pii.verdicts import actions_of, passed, refusal

_ANSWER = Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM


@dataclass(frozen=True, slots=True)
class Equipment:
    """What the sessions of one filter share. secret: 32 bytes, the root of every tenant's key.

    streams: where their long events are searched. A stream must not wait for prompts of others, whose threads are few.
    """

    settings: PiiSettings
    requests: Searcher
    answers: Searcher
    offload: Offload
    secret: bytes
    streams: Offload = field(default_factory=waiting_room)


class PiiSession(Session):
    """Needs the answer only where it is searched, or where a placeholder of the request may be restored in it."""

    def __init__(self, equipment: Equipment, endpoint: Endpoint, *, watches_answer: bool) -> None:
        self._equipment = equipment
        self._settings = equipment.settings
        self._endpoint = endpoint
        self._watches_answer = watches_answer
        self._placeholders: Placeholders | None = None
        self._answer: Answer | None = None
        self._organisation = ANONYMOUS.organisation
        self._exchange = ""
        self._structured = False
        self._cited = False
        self.needs = Needs.REQUEST_BODY if equipment.requests.treatment.searches else Needs.NOTHING
        if watches_answer:
            self.needs |= _ANSWER
            self.away = self._away
            self.away_from = self._least

    # --- the request -------------------------------------------------------------------------------------------------------

    async def on_request(self, request: Request) -> Verdict:
        self._exchange = request.id
        self._organisation = (request.facts.get(PRINCIPAL) or ANONYMOUS).organisation
        if self._watches_answer:
            self._expect(request.document)
        searcher = self._equipment.requests
        if not searcher.treatment.searches:
            return PASS
        if searcher.treatment.binds and _has_tokens(request, self._endpoint):
            return UNREADABLE
        try:
            allowance = allowance_of(self._settings)
            rules, offload = RULES[self._endpoint], self._equipment.offload
            found = await searcher.scan(request.document, rules, offload, allowance, size=len(request.body))
        except (ModelsLate, SearchLate) as late:
            if self._settings.on_error == "open":
                raise
            return too_late(late, self._settings)
        if found.is_empty:
            return PASS
        if found.has_many:
            verdict, placeholders = await self._equipment.offload.run(self._decided, found, request, unlimited().step)
        else:
            verdict, placeholders = self._decided(found, request)
        if self._settings.restore and placeholders and self._endpoint.has_answer:
            self._placeholders = placeholders
            self.needs |= _ANSWER
            self._expect(request.document)
        return verdict

    def _expect(self, document: Any) -> None:
        """What the answer will be like: most requests have none that is read."""
        self._structured = asks_for_json(document)
        self._cited = self._endpoint is not Endpoint.MESSAGES and asks_for_sources(document)

    def _decided(self, found: Scan, request: Request, step: Step = nothing) -> tuple[Verdict, Placeholders]:
        """The verdict, and what stands for values in it. Changes nothing of the session: it may run in a thread."""
        key, treatment = self._key, self._equipment.requests.treatment
        # What is never restored need not avoid what looks like a placeholder: the client may quote an earlier answer of ours.
        placeholders = Placeholders(key, found.look_alikes if self._settings.restore else frozenset())
        reply = refusal(found, treatment, refuse_undeclared=self._settings.unknown == "refuse")
        return reply or passed(found, treatment, Substitutes(treatment, placeholders, key, step), request), placeholders

    # --- the answer --------------------------------------------------------------------------------------------------------

    async def on_response(self, response: Response) -> Verdict:
        return await self._opened().whole(response, self._equipment.offload)

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        answer = self._opened()
        passed = answer.on_event(event, self._endpoint)
        self.away_from = self._least if answer.held <= INLINE else 0  # they may be searched with the next event
        return passed

    @property
    def _least(self) -> int:
        """Bytes of an event whose search would hold up the event loop."""
        return 0 if self._equipment.answers.detector.waits else INLINE

    async def _away(self, work: Callable[[], None]) -> None:
        await self._opened().away(work, self._equipment.streams)

    def on_stream_end(self) -> Sequence[SseEvent]:
        return self._answer.on_stream_end() if self._answer else ()

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        """What was found in a stream, and not looked at; of a whole answer the decision says it."""
        self.away = None  # which holds this session: a cycle would wait for the garbage collector
        note = self._answer.streamed if self._answer else {}
        if not note:
            return ()
        action = {"action": actions_of(self._equipment.answers.treatment, note["findings"])} if "findings" in note else {}
        return (Record("pii", {"exchange": self._exchange, "answer": {**note, **action}}),)

    @property
    def _key(self) -> bytes:
        """The tenant's, made where something was found: most requests have no use for it."""
        return tenant_key(self._equipment.secret, self._organisation)

    def _opened(self) -> Answer:
        if self._answer is None:
            values = self._placeholders.values if self._placeholders else {}
            self._answer = Answer(values, self._scrubbing(), structured=self._structured, cited=self._cited)
        return self._answer

    def _scrubbing(self) -> Scrubbing | None:
        if not self._watches_answer:
            return None
        searcher, key = self._equipment.answers, self._key
        # Its own placeholders, which nothing restores: the model came up with the value, or it would stand for itself.
        substitute = Substitutes(searcher.treatment, Placeholders(key), key)
        closed = self._settings.unknown_events == "refuse"
        return Scrubbing(searcher, substitute, closed=closed, within=partial(answers_allowance_of, self._settings))


def asks_for_json(document: Any) -> bool:
    """Whether the answer's text is to be JSON.

    OpenAI's `response_format` and `text.format`, Anthropic's `output_format` and `output_config.format`.
    """
    members = document if isinstance(document, dict) else {}
    holders = [members, *(each for name in ("text", "output_config") if isinstance(each := members.get(name), dict))]
    wanted = [each.get(name) for each in holders for name in ("response_format", "output_format", "format")]
    return any(isinstance(each, dict) and each.get("type") in ("json_object", "json_schema") for each in wanted)


_NO_SOURCES = ("function", "custom", None)
"""Types of tools that the caller runs."""
_SEARCHES = ("search", "sonar", ":online")
"""In names of OpenAI's, Perplexity's and OpenRouter's models that look for sources unasked."""


def asks_for_sources(document: Any) -> bool:
    """Whether the answer may cite something: a tool that the provider runs, or a model that searches the web."""
    members = document if isinstance(document, dict) else {}
    tools = members.get("tools")
    if any(isinstance(tool, dict) and tool.get("type") not in _NO_SOURCES for tool in (tools if isinstance(tools, list) else ())):
        return True
    model = members.get("model")
    named = isinstance(model, str) and any(word in model for word in _SEARCHES)
    return named or any(members.get(name) is not None for name in ("web_search_options", "plugins"))


def _has_tokens(request: Request, endpoint: Endpoint) -> bool:
    """Whether the prompt is written as token ids."""
    value = (request.document or {}).get(TOKEN_LISTS.get(endpoint, ""))
    items = value if isinstance(value, list) else ()
    return any(isinstance(item, int | list) for item in items)


UNREADABLE = Reply(
    400, "pii.unreadable", "The prompt is given as token ids, which cannot be searched for personal data. Send it as text."
)
