"""What stands in place of a finding."""

from collections import Counter
from collections.abc import Mapping

from headrace.filters.pii.placeholders import Placeholders
from headrace.filters.pii.scan import Substitute
from headrace.filters.pii.settings import Action
from headrace.filters.pii.spans import Span


class Blocked(Exception):
    """A finding in a text that may have none."""

    def __init__(self, entity: str) -> None:
        super().__init__(entity)
        self.entity = entity


def substitute_for(action: Action, placeholders: Placeholders) -> Substitute:
    """How `action` replaces a finding; `block` raises Blocked instead, `report` leaves it."""

    def replaced(span: Span, value: str) -> str:
        return placeholders.of(span.entity, value)

    def blocked(span: Span, _: str) -> str:
        raise Blocked(span.entity)

    ways: Mapping[Action, Substitute] = {
        "replace": replaced,
        "redact": lambda span, _: f"<{span.entity}>",
        "mask": lambda _, value: "*" * len(value),
        "block": blocked,
    }
    return ways.get(action, lambda _, value: value)


class Counting:
    """A substitute that counts what it is asked for."""

    def __init__(self, substitute: Substitute) -> None:
        self._substitute = substitute
        self.counts: Counter[str] = Counter()

    def __call__(self, span: Span, value: str) -> str:
        self.counts[span.entity] += 1
        return self._substitute(span, value)
