"""The decision record: what was asked, what every filter said and how long it took, how it ended. Never a text of the request."""

from typing import Any

from headrace.ext_proc.core.candidates import Answered
from headrace.ext_proc.core.effects import Outcome, Record
from headrace.ext_proc.core.endpoint import normalise
from headrace.ext_proc.core.facts import ESTIMATED, INPUT_TOKENS
from headrace.ext_proc.core.lenses import Call
from headrace.ext_proc.core.principal import PRINCIPAL, members_of
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.seats import Resolution
from headrace.ext_proc.core.session import Link
from headrace.ext_proc.core.terms import RESERVED
from headrace.ext_proc.core.traceparent import traceparent_of
from headrace.ext_proc.core.verdict import Continue, Reply

MAX_PATH = 200
"""Characters of a path, or of a model's name, in a record; both are the client's words."""


class Decision:
    """Written by the exchange as it goes.

    metadata: what the gateway's access log is told under the namespace `headrace`. reason: of the reply that ended the exchange.
    answer: who gave it, where the gateway has several to ask and says whom it asked.
    start_ms, elapsed_us: when the exchange was opened (epoch) and the time all steps took, set by the driver; 0 when it does not.
    """

    def __init__(self, exchange: str, revision: str) -> None:
        self.exchange = exchange
        self.revision = revision
        self.metadata: dict[str, str | int | float] = {}
        self.reason = ""
        self.start_ms = 0
        self.elapsed_us = 0.0
        self.answer: Answered | None = None
        self.steps: list[dict[str, Any]] = []
        self._request: Request | None = None
        self._call: Call | None = None

    def request(self, request: Request) -> None:
        self._request = request

    def call(self, call: Call) -> None:
        self._call = call

    def step(self, link: Link, phase: str, resolution: Resolution) -> None:
        verdict = resolution.verdict
        replied = isinstance(verdict, Reply)
        outcome = ("would_reply" if link.shadow else "reply") if replied else "continue"
        step: dict[str, Any] = {
            "filter": link.name,
            "phase": phase,
            "outcome": "failed" if resolution.error else outcome,
            "reason": verdict.reason,
            "us": resolution.elapsed_us,
        }
        if link.shadow:
            step["mode"] = "shadow"
            if isinstance(verdict, Continue) and verdict.metadata:
                step["metadata"] = verdict.metadata
        if resolution.error:
            step["error"] = resolution.error
        if verdict.note:
            step["note"] = verdict.note
        self.steps.append(step)

    def failed(self, link: Link, phase: str) -> None:
        """A sync hook of the filter failed."""
        self.steps.append({"filter": link.name, "phase": phase, "outcome": "failed", "reason": f"{link.name}.failed", "us": 0.0})

    def passed_over(self, link: Link, outcome: str, reason: str) -> None:
        """A filter would have ended the stream, or has failed on it, and the stream goes on; said once."""
        said = ((step["filter"], step["phase"], step["outcome"]) for step in self.steps)
        if (link.name, "stream", outcome) in said:
            return
        mode = {"mode": "shadow"} if link.shadow else {}
        self.steps.append({"filter": link.name, "phase": "stream", "outcome": outcome, "reason": reason, "us": 0.0} | mode)

    def record(self, outcome: Outcome) -> Record:
        """The record, as JSON-able members; absent values are left out."""
        members: dict[str, Any] = {"exchange": self.exchange, "revision": self.revision}
        if self.start_ms:
            members["start_ms"] = self.start_ms
        if self._request is not None:
            self._tell_asked(self._request, members)
        if self.answer is not None:
            members |= self.answer.members
        members["outcome"] = outcome.cause._value_  # `value` is a function in Python, here as elsewhere
        if outcome.status is not None:
            members["status"] = outcome.status
        if self.reason:
            members["reason"] = self.reason
        if outcome.usage is not None:
            members["usage"] = outcome.usage.members
        metadata = {**self.metadata}
        metadata.pop("exchange", None)
        if metadata:
            members["metadata"] = metadata
        members["steps"] = self.steps
        members["elapsed_us"] = round(self.elapsed_us, 1)
        return Record("decision", members)

    def _tell_asked(self, request: Request, members: dict[str, Any]) -> None:
        get = request.facts.get
        told = {"method": request.method, "path": _shown(normalise(request.path))}
        if request.endpoint is not None:
            told["endpoint"] = request.endpoint._value_
        if self._call is not None:
            told["model"] = self._call.model[:MAX_PATH]
        members |= {name: value for name, value in told.items() if value}
        if self._call is not None:
            members["stream"] = self._call.stream
        if (principal := get(PRINCIPAL)) is not None:
            members["principal"] = members_of(principal)
        if (tokens := get(INPUT_TOKENS)) is not None:
            members["input_tokens"] = tokens
        if (estimated := get(ESTIMATED)) is not None:
            members["estimated"] = estimated
        if (reserved := get(RESERVED)) is not None:
            members["reserved"] = reserved.members
        if (traceparent := traceparent_of(request.headers)) is not None:
            members["traceparent"] = traceparent


def _shown(path: str) -> str:
    """Header bytes that are no UTF-8 stand in strings as surrogates, which no log can write."""
    short = path[:MAX_PATH]
    return short if short.isascii() else short.encode("utf-8", "backslashreplace").decode()
