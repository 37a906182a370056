"""A request that takes too long to search: how long that is, and what its caller is told."""

from collections.abc import Callable, Sequence
from functools import cache
from time import monotonic

from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.problems import Where
from headrace.filters.pii.allowance import Allowance, ModelsLate, SearchLate
from headrace.filters.pii.models.names import Model
from headrace.filters.pii.models.pool import WAITING
from headrace.filters.pii.settings import PiiSettings

WITHIN = 0.9
"""Of `timeout_ms`, the search's part: the caller reads our reply, and not the guard's."""
MODELS_WITHIN = 2 / 3
"""Of `timeout_ms`, the models' part where the policy says nothing: the patterns run after them."""

MS_OF_A_KB = {"onnx": 25, "spacy": 35}
"""Milliseconds of a core's time that rampart, and spaCy's small model, take for a kilobyte of new text (tests/bench/pii_models)."""
LEAST_KB = 32
"""Of new text that a request should be able to have: a document of ten pages that somebody pastes into a chat."""

WAITERS = 8
"""Threads that wait for models, or search events of streams. They hold Python's lock for a fraction of the time, unlike those that
search prompts for patterns."""


def allowance_of(settings: PiiSettings) -> Allowance:
    """What a search of a request that begins now may take."""
    now = monotonic()
    return Allowance(now + _seconds(settings), now + _models_ms(settings) / 1000, settings.on_model_timeout == "patterns")


def answers_allowance_of(settings: PiiSettings) -> Allowance:
    """The same for an answer, in which models read everything or the search fails: no record says what they had no time for."""
    return Allowance(monotonic() + _seconds(settings))


def _seconds(settings: PiiSettings) -> float:
    return settings.timeout_ms / 1000 * WITHIN


def _models_ms(settings: PiiSettings) -> float:
    return settings.model_timeout_ms if settings.model_timeout_ms is not None else settings.timeout_ms * MODELS_WITHIN


def check_times(settings: PiiSettings, report: Callable[[Where, str], None]) -> None:
    """Reports a time for models that leaves none for patterns."""
    models, most = settings.model_timeout_ms, settings.timeout_ms
    if models is not None and models > most * MODELS_WITHIN:
        right = f"at most {most * MODELS_WITHIN:.0f}, two thirds of timeout_ms, because patterns run after models"
        report(("model_timeout_ms",), f"must be {right}, not {models}")


def check_models_in_time(settings: PiiSettings, models: Sequence[Model], remark: Callable[[Where, str], None]) -> None:
    """Remarks on a time in which models read less than a usual document. As many cores as processes are assumed."""
    if not models:
        return
    processes = max(1, settings.model_processes - 1)
    cost = sum(MS_OF_A_KB[model.kind] for model in models)
    kilobytes = _models_ms(settings) * processes / cost
    if kilobytes >= LEAST_KB:
        return
    needed = -(-LEAST_KB * cost // processes)
    named, most = " and ".join(model.name for model in models), max(1, int(kilobytes))
    late = "is searched without names" if settings.on_model_timeout == "patterns" else "is refused with 503"
    right = f"for {LEAST_KB} KB give models {needed} ms (timeout_ms: {-(-needed * 3 // 2)}), or set model: none"
    message = f"a request with more than some {most} KB of new text {late}: {named} takes {cost} ms of a core for a KB; {right}"
    remark(("model_timeout_ms" if settings.model_timeout_ms is not None else "timeout_ms",), message)


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
    """Threads for searches that wait for models, and for events of streams: two that wait must not stop the others.

    Shared by all filters of this process.
    """
    return ThreadOffload(WAITERS, WAITING)
