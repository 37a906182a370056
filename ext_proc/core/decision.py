"""The decision record: what was asked, what every filter said and how long it took, how it ended. Never a text of the request."""

from collections.abc import Mapping
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
from headrace.ext_proc.core.verdict import Reply

MAX_PATH = 200
"""Characters of a path, or of a model's name, in a record; both are the client's words."""


_TOLD_ALSO_EMPTY = frozenset({bool, int, float, list})
"""Of other values, those that are empty are absent."""


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
        members = {
            "exchange": self.exchange,
            "revision": self.revision,
            "start_ms": self.start_ms or None,
            **self._asked(),
            **(self.answer.members if self.answer else {}),
            **self._answered(outcome),
            "metadata": {key: value for key, value in self.metadata.items() if key != "exchange"},
            "steps": self.steps,
            "elapsed_us": round(self.elapsed_us, 1),
        }
        return Record("decision", {key: value for key, value in members.items() if value or type(value) in _TOLD_ALSO_EMPTY})

    def _asked(self) -> Mapping[str, Any]:
        if (request := self._request) is None:
            return {}
        principal, reserved = request.facts.get(PRINCIPAL), request.facts.get(RESERVED)
        return {
            "method": request.method,
            "path": _shown(normalise(request.path)),
            "endpoint": request.endpoint and request.endpoint.value,
            "model": self._call and self._call.model[:MAX_PATH],
            "stream": self._call and self._call.stream,
            "principal": principal and members_of(principal),
            "input_tokens": request.facts.get(INPUT_TOKENS),
            "estimated": request.facts.get(ESTIMATED),
            "reserved": reserved and reserved.members,
            "traceparent": traceparent_of(request.headers),
        }

    def _answered(self, outcome: Outcome) -> Mapping[str, Any]:
        return {
            "outcome": outcome.cause.value,
            "status": outcome.status,
            "reason": self.reason,
            "usage": outcome.usage and outcome.usage.members,
        }


def _shown(path: str) -> str:
    """Header bytes that are no UTF-8 stand in strings as surrogates, which no log can write."""
    short = path[:MAX_PATH]
    return short if short.isascii() else short.encode("utf-8", "backslashreplace").decode()
