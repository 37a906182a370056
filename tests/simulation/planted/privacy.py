"""Bugs that let personal data out."""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from headrace.filters.pii import session
from headrace.filters.pii.answer import Answer
from headrace.filters.pii.placeholders import Placeholders
from headrace.filters.pii.restore import Restorer
from headrace.filters.pii.segments import Scrubber
from tests.simulation.loop import OWNER
from tests.simulation.planted.patching import in_place_of

Right = Callable[..., Any]


@in_place_of((session, "Answer"))
def restores_for_other_tenants(right: Right, values: Mapping[str, str], *args: Any, **options: Any) -> Answer:
    """Placeholders are known to the process, and not to the exchange."""
    known = _KNOWN.setdefault(OWNER.get(), {})
    known.update(values)
    answer: Answer = right(dict(known), *args, **options)
    return answer


_KNOWN: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()
"""By worker."""


@in_place_of((Scrubber, "feed"))
def lets_go_what_it_holds_back(right: Right, scrubber: Scrubber, text: str) -> str:
    """Every piece of an answer is searched by itself."""
    said: str = right(scrubber, text)
    return said + scrubber.flush()


@in_place_of((Restorer, "feed"))
def lets_half_a_placeholder_go(right: Right, restorer: Restorer, text: str) -> str:
    """A placeholder that comes in two pieces is not put together."""
    said: str = right(restorer, text)
    return said + restorer.flush()


@in_place_of((Placeholders, "of"))
def replaces_the_first_finding_only(right: Right, placeholders: Placeholders, entity: str, value: str) -> str:
    """From the third on, what is found stands for itself."""
    return value if len(placeholders) > 1 else str(right(placeholders, entity, value))
