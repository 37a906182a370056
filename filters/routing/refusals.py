"""What a caller is told whose request no offer takes: the rule that came closest to taking it decides."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.policy.pools import Pool
from headrace.filters.routing.weighing import NOT_PERMITTED, Weighed


def unknown_model(name: str, param: str = "model") -> Reply:
    """The refusal of a model that the catalogue does not have."""
    return Reply(403, "model.not_allowed", f"The model {name[:100]!r} is not available through this gateway.", param=param)


def refusal(name: str, weighed: Sequence[Weighed], most_of: Callable[[Pool], int], note: Mapping[str, Any]) -> Reply:
    """weighed: every offer, all of them fallen. most_of: tokens a pool takes."""
    return replace(_refusal(name, weighed, most_of), note=note)


def _refusal(name: str, weighed: Sequence[Weighed], most_of: Callable[[Pool], int]) -> Reply:
    """The numbers are of those that a shorter request could go to."""
    fell = {one.reason: [other for other in weighed if other.reason == one.reason] for one in weighed}
    if large := fell.get("routing.prompt_size", []) + fell.get("routing.memory_fit", []):
        return _too_large(large, most_of)
    if long := fell.get("routing.context"):
        return _too_long(long)
    if "routing.max_price" in fell:
        return _TOO_DEAR
    if NOT_PERMITTED & set(fell):
        return _NOT_PERMITTED
    return _gone(name, min(one.offer.gone or "" for one in weighed))


def _too_large(fallen: Sequence[Weighed], most_of: Callable[[Pool], int]) -> Reply:
    most, largest = max(((most_of(one.pool), one) for one in fallen if one.pool), key=lambda found: found[0])
    asked = largest.asked
    message = (
        f"No pool holds this request: it needs {asked.need} tokens ({asked.prompt} in the prompt, "
        f"{asked.answer * asked.choices} for the answer) and the largest pool takes {most}. "
        "Shorten the prompt or lower max_tokens."
    )
    return Reply(413, "routing.too_large", message)


def _too_long(fallen: Sequence[Weighed]) -> Reply:
    longest = max(fallen, key=lambda one: one.offer.model.context or 0)
    asked = longest.asked
    message = (
        f"This model's context is {longest.offer.model.context} tokens. Your request needs {asked.prompt + asked.answer}: "
        f"{asked.prompt} in the prompt and {asked.answer} for the answer. Shorten the prompt or lower max_tokens."
    )
    return Reply(400, "context.exceeded", message)


def _gone(name: str, day: str) -> Reply:
    message = f"The model {name[:100]!r} has not been served since {day}. Ask your platform team which model takes its place."
    return Reply(404, "model.sunset", message, param="model")


_NOT_PERMITTED: Final = Reply(
    403,
    "routing.not_permitted",
    "No model server that may see this request serves this model. Ask your platform team which model you may use for it.",
)
_TOO_DEAR: Final = Reply(
    403, "routing.max_price", "This model costs more than you may spend on a token. Ask your platform team which model you may use."
)
