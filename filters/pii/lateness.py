"""A request that takes too long to search: how long that is, and what its caller is told."""

from collections.abc import Callable
from functools import cache
from time import monotonic

from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.problems import Where
from headrace.filters.pii.allowance import Allowance, ModelsLate, SearchLate
from headrace.filters.pii.models.pool import WAITING
from headrace.filters.pii.settings import PiiSettings

WITHIN = 0.9
"""Of `timeout_ms`, the search's part: the caller reads our reply, and not the guard's."""
MODELS_WITHIN = 2 / 3
"""Of `timeout_ms`, the models' part where the policy says nothing: the patterns run after them."""

WAITERS = 8
"""Threads that wait for models. They hold Python's lock for a fraction of the time, unlike those that search for patterns."""


def allowance_of(settings: PiiSettings) -> Allowance:
    """What a search that begins now may take."""
    now, most = monotonic(), settings.timeout_ms / 1000
    models = settings.model_timeout_ms / 1000 if settings.model_timeout_ms is not None else most * MODELS_WITHIN
    return Allowance(now + most * WITHIN, now + models, settings.on_model_timeout == "patterns")


def check_times(settings: PiiSettings, report: Callable[[Where, str], None]) -> None:
    """Reports a time for models that leaves none for patterns."""
    models, most = settings.model_timeout_ms, settings.timeout_ms
    if models is not None and models > most * MODELS_WITHIN:
        right = f"at most {most * MODELS_WITHIN:.0f}, two thirds of timeout_ms, because patterns run after models"
        report(("model_timeout_ms",), f"must be {right}, not {models}")


def too_late(late: SearchLate | ModelsLate, settings: PiiSettings) -> Reply:
    """The reply to a request whose search was not through in time."""
    if isinstance(late, ModelsLate):
        message = (
            "The request has more new text than the gateway's language model can read in time. What it has read is remembered: "
            "send the request again, or send less new text at once."
        )
        return Reply(503, "pii.model_timeout", message, retry_after=1)
    message = (
        f"The request has too many places that look like personal data to search them within {settings.timeout_ms / 1000:g} "
        "seconds. Send it in smaller parts."
    )
    return Reply(413, "pii.too_long", message)


@cache
def waiting_room() -> ThreadOffload:
    """Threads for searches that wait for models, shared by all filters of this process: two that wait must not stop the others."""
    return ThreadOffload(WAITERS, WAITING)
