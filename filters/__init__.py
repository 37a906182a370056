"""The filters of Headrace, and what a filter of your own is written with."""

from headrace.ext_proc.core.effects import Outcome
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.request import Request, Response
from headrace.ext_proc.core.session import EndStream, Session
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Continue, Edits, Reply, SetMember, Verdict
from headrace.ext_proc.engine.settings import FilterSettings

__all__ = [
    "PASS",
    "Continue",
    "Edits",
    "EndStream",
    "FilterSettings",
    "Needs",
    "Outcome",
    "Reply",
    "Request",
    "Response",
    "Session",
    "SetMember",
    "SseEvent",
    "Verdict",
]
