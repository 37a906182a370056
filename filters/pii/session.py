"""One exchange: the request searched and rewritten, the answer restored and scrubbed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headrace.ext_proc.core.effects import Effect, Outcome, Record
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.core.principal import ANONYMOUS, PRINCIPAL
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Continue, Edits, Reply, Verdict
from headrace.filters.pii.actions import Counting, substitute_for
from headrace.filters.pii.answer import Answer, Scrubbing
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.paths import RULES, TOKEN_LISTS
from headrace.filters.pii.placeholders import Placeholders, tenant_key
from headrace.filters.pii.scan import Scan, members, scan
from headrace.filters.pii.settings import PiiSettings

MOST_PATHS = 20
"""Paths named in a refusal or a record: enough to find the place, too few to fill a log."""
_ANSWER = Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM


@dataclass(frozen=True, slots=True)
class Equipment:
    """What the sessions of one filter share. secret: 32 bytes, the root of every tenant's key."""

    settings: PiiSettings
    detector: MemoDetector
    offload: Offload
    secret: bytes


class PiiSession(Session):
    """Needs the answer only where it is searched, or where a placeholder of the request may be restored in it."""

    def __init__(self, equipment: Equipment, endpoint: Endpoint, *, watches_answer: bool) -> None:
        self._equipment = equipment
        self._settings = equipment.settings
        self._endpoint = endpoint
        self._watches_answer = watches_answer
        self._placeholders: Placeholders | None = None
        self._answer: Answer | None = None
        self._key = b""
        self._exchange = ""
        self._structured = False
        self.needs = Needs.NOTHING if equipment.settings.request == "off" else Needs.REQUEST_BODY
        if watches_answer:
            self.needs |= _ANSWER

    # --- the request -------------------------------------------------------------------------------------------------------

    async def on_request(self, request: Request) -> Verdict:
        self._exchange = request.id
        self._key = tenant_key(self._equipment.secret, (request.facts.get(PRINCIPAL) or ANONYMOUS).organisation)
        self._structured = asks_for_json(request.document)
        if self._settings.request == "off":
            return PASS
        if _has_tokens(request, self._endpoint) and self._settings.request != "report":
            return UNREADABLE
        result = await scan(request.document, RULES[self._endpoint], self._equipment.detector, self._equipment.offload)
        if not result:
            return Continue(note={"unread": dict(result.unread)}) if result.unread else PASS
        return self._verdict(result)

    def _verdict(self, result: Scan) -> Verdict:
        note = _note(result, self._settings.request)
        if self._settings.request == "report":
            return Continue(note=note)
        if self._settings.request == "block":
            return _blocked(result, note)
        if result.in_names:
            return _in_names(result, note)
        # What is never restored need not avoid what looks like a placeholder: the client may quote an earlier answer of ours.
        placeholders = Placeholders(self._key, result.look_alikes if self._settings.restore else frozenset())
        edits = Edits(members=members(result.found, substitute_for(self._settings.request, placeholders)))
        if self._settings.restore and placeholders and self._endpoint is not Endpoint.EMBEDDINGS:
            self._placeholders = placeholders
            self.needs |= _ANSWER
        return Continue(edits, note=note)

    # --- the answer --------------------------------------------------------------------------------------------------------

    async def on_response(self, response: Response) -> Verdict:
        return await self._opened().whole(response, self._equipment.offload)

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        return self._opened().on_event(event, self._endpoint)

    def on_stream_end(self) -> Sequence[SseEvent]:
        return self._answer.on_stream_end() if self._answer else ()

    def close(self, outcome: Outcome) -> Sequence[Effect]:
        """What was found in a stream; a whole answer's findings are in the decision."""
        if self._answer is None or not self._answer.streamed or not self._answer.counts:
            return ()
        found = {"findings": dict(self._answer.counts), "action": self._settings.response}
        return (Record("pii", {"exchange": self._exchange, "answer": found}),)

    def _opened(self) -> Answer:
        if self._answer is None:
            values = self._placeholders.values if self._placeholders else {}
            self._answer = Answer(values, self._scrubbing(), structured=self._structured)
        return self._answer

    def _scrubbing(self) -> Scrubbing | None:
        if not self._watches_answer:
            return None
        action = self._settings.response
        # Its own placeholders, which nothing restores: the model came up with the value, or it would stand for itself.
        substitute = Counting(substitute_for(action, Placeholders(self._key)))
        return Scrubbing(action, self._equipment.detector, substitute)


def asks_for_json(document: Any) -> bool:
    """Whether the answer's text is to be JSON: `response_format` of chat completions, `text.format` of the Responses API."""
    members = document if isinstance(document, dict) else {}
    text = members.get("text")
    wanted = members.get("response_format") or (text.get("format") if isinstance(text, dict) else None)
    return isinstance(wanted, dict) and wanted.get("type") in ("json_object", "json_schema")


def _has_tokens(request: Request, endpoint: Endpoint) -> bool:
    """Whether the prompt is written as token ids."""
    value = (request.document or {}).get(TOKEN_LISTS.get(endpoint, ""))
    items = value if isinstance(value, list) else ()
    return any(isinstance(item, int | list) for item in items)


def _note(result: Scan, action: str) -> Mapping[str, Any]:
    note: dict[str, Any] = {"action": action, "findings": dict(result.counts), "paths": list(result.paths[:MOST_PATHS])}
    return note | ({"unread": dict(result.unread)} if result.unread else {})


def _blocked(result: Scan, note: Mapping[str, Any]) -> Reply:
    entities, paths = ", ".join(sorted(result.counts)), result.paths
    more = f" and {len(paths) - MOST_PATHS} more places" if len(paths) > MOST_PATHS else ""
    message = f"The request contains personal data that may not leave: {entities} at {', '.join(paths[:MOST_PATHS])}{more}."
    return Reply(400, "pii.blocked", message, param=paths[0], note=note)


def _in_names(result: Scan, note: Mapping[str, Any]) -> Reply:
    entities = ", ".join(sorted({entity for entity, _ in result.in_names}))
    message = f"The request has personal data ({entities}) in the name of a JSON member, where it cannot be replaced."
    return Reply(400, "pii.in_name", message, note=note)


UNREADABLE = Reply(
    400, "pii.unreadable", "The prompt is given as token ids, which cannot be searched for personal data. Send it as text."
)
