"""What stands in place of a finding."""

import hmac
from collections import Counter
from collections.abc import Callable, Iterable
from typing import assert_never

from headrace.filters.pii.action_settings import Action, Mask, Route
from headrace.filters.pii.placeholders import Placeholders
from headrace.filters.pii.spans import Span
from headrace.filters.pii.treatment import Treatment

Substitute = Callable[[Span, str], str]
"""What stands in place of a finding, given the value."""

Step = Callable[[], object]
"""Called before each substitute, or each segment: in a thread, it lets others in."""

HASH_BYTES = 8
"""Of an HMAC-SHA256: a million values share one with a chance of one in thirty million."""


def nothing() -> None:
    """The step of the event loop's own work, which is short."""


class Blocked(Exception):
    """A finding in a text that may have none."""

    def __init__(self, entity: str) -> None:
        super().__init__(entity)
        self.entity = entity


class Substitutes:
    """A substitute for the findings of one text or one answer, as `treatment` says; counts them.

    key: of the organisation. Raises Blocked where the finding is to be blocked.
    """

    def __init__(self, treatment: Treatment, placeholders: Placeholders, key: bytes, step: Step = nothing) -> None:
        self._step = step
        self._treatment = treatment
        self._placeholders = placeholders
        self._key = key
        self.counts: Counter[str] = Counter()

    def __call__(self, span: Span, value: str) -> str:
        self._step()
        self.counts[span.entity] += 1
        return self._instead(self._treatment.of(span.entity), span.entity, value)

    def whole(self, text: str, spans: Iterable[Span]) -> str:
        """What stands in place of a text that is replaced as a whole because of the findings in it."""
        return self(self._treatment.strictest(spans), text)

    def _instead(self, action: Action, entity: str, value: str) -> str:
        match action:
            case "replace":
                return self._placeholders.of(entity, value)
            case "redact":
                return f"<{entity}>"
            case "hash":
                return hashed(self._key, entity, value)
            case "mask":
                return masked(value, 0)
            case Mask(mask=kept):
                return masked(value, kept)
            case "block":
                raise Blocked(entity)
            case "report" | "off" | Route():
                return value
            case _:
                assert_never(action)


def masked(value: str, kept: int) -> str:
    """Stars for all but the last `kept` characters; half of them are stars in any case."""
    shown = min(kept, len(value) // 2)
    return "*" * (len(value) - shown) + value[len(value) - shown :]


def hashed(key: bytes, entity: str, value: str) -> str:
    """`<EMAIL_ADDRESS#9f86d081884c7d65>`: the same for the same value, and nobody without the key can find it by trying."""
    digest = hmac.digest(key, f"hash\0{entity}\0{value}".encode("utf-8", "surrogatepass"), "sha256")
    return f"<{entity}#{digest[:HASH_BYTES].hex()}>"
