"""What the two halves of an exchange share: its state, its sessions, and how a verdict takes effect."""

from collections.abc import Generator
from enum import Enum

from headrace.ext_proc.core.decision import Decision
from headrace.ext_proc.core.dialect import error_body, error_headers
from headrace.ext_proc.core.effects import Cause
from headrace.ext_proc.core.events import Answer, Refuse
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.json_body import put
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.pending import Pending
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.seats import Ask, Resolution, Seated, failure
from headrace.ext_proc.core.session import Policy
from headrace.ext_proc.core.terms import terms_of, written
from headrace.ext_proc.core.usage import UsageMeter
from headrace.ext_proc.core.verdict import NO_EDITS, Edits, Metadata, Reply


class State(Enum):
    __hash__ = object.__hash__  # a member is itself; enum's own hash of its name is Python

    START = "start"
    AWAIT_BODY = "awaiting the request body"
    AWAIT_RESPONSE = "awaiting the response"
    COLLECTING = "collecting the answer"
    STREAMING = "streaming the answer"
    DONE = "done"
    CLOSED = "closed"


Flow = Generator[Ask, Resolution, Answer]
"""Gives the asks of an event one by one, is sent their resolutions, and returns the event's answer."""


class Course:
    """The part of an exchange that both halves read and write."""

    def __init__(self, id: str, policy: Policy) -> None:
        self.id = id
        self.state = State.START
        self.decision = Decision(id, policy.revision)
        self._request: Request
        self._response: Response
        self._seats: list[Seated] = []
        self._pending = Pending()
        self._meter = UsageMeter()
        self._cause: Cause | None = None
        self._status: int | None = None
        self._upstream = ""
        self._server = ""
        self._forwarded = False

    def _needs_any(self, parts: Needs) -> bool:
        """Whether any session needs any of them."""
        needed = 0
        for seat in self._seats:
            needed |= seat.session.needs._value_  # enum's own operators cost a microsecond
        return needed & parts._value_ != 0

    def _settling(self, settle: str | None) -> Metadata:
        """Who settles; `access_log` is told the terms, which the gateway gives back when the exchange is over."""
        if settle is None:
            return {}
        return {"settle": settle, "lease": written(terms_of(self._request))} if settle == "access_log" else {"settle": settle}

    def _fold(self, ask: Ask, resolution: Resolution) -> Reply | None:
        """Applies a verdict; gives the reply where it is one that counts."""
        self.decision.step(ask.link, ask.phase, resolution)
        verdict = resolution.verdict
        if isinstance(verdict, Reply):
            return None if ask.link.shadow else verdict
        if verdict.facts:
            self._request.facts.add(verdict.facts, shadow=ask.link.shadow)
        if ask.link.shadow:  # what the gateway is told, it acts on
            return None
        if verdict.metadata:
            self.decision.metadata.update(verdict.metadata)
        if verdict.edits is NO_EDITS:
            return None
        try:
            self._apply(ask.phase, verdict.edits)
        except (LookupError, TypeError):  # refused also where the filter fails open: half of the edits may have been applied
            self.decision.failed(ask.link, ask.phase)
            return failure(ask.link)
        return None

    def _apply(self, phase: str, edits: Edits) -> None:
        """Raises LookupError or TypeError for a path that the document does not have."""
        self._pending.add(edits)
        if phase != "response":
            for edit in edits.members:
                self._request.apply(edit)
            return
        if edits.body is not None:
            self._response.body = edits.body
        for edit in edits.members:
            put(self._response.document, edit.path, edit.value)

    def _refuse(self, reply: Reply) -> Refuse:
        self._end(Cause.REFUSED)
        self.decision.reason = reply.reason
        dialect = self._request.dialect
        headers = error_headers(reply, dialect, self.id)
        return Refuse(reply.status, headers, error_body(reply, dialect, self.id), reply.reason)

    def _end(self, cause: Cause) -> None:
        self._cause = cause
        self.state = State.DONE


def is_encoded(headers: Headers) -> bool:
    encodings = headers.get_all("content-encoding")
    return bool(encodings) and any(value.strip().lower() not in ("", "identity") for value in encodings)
