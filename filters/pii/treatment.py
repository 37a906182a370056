"""What is done with findings in one direction: an action for each entity, and one that wins where findings overlap."""

from collections.abc import Iterable, Mapping
from typing import assert_never

from headrace.filters.pii.action_settings import Action, Actions, Mask, Route
from headrace.filters.pii.spans import Span, disjoint

# Where findings overlap, one that stops the request names them all, before one that is replaced, before one that is left.
_STRICTNESS: Mapping[str, int] = {"report": 0, "route": 1, "block": 3}
_CHANGED = 2
_UNTOUCHED = ("report", "route")


def word_of(action: Action) -> str:
    """An action's name, without what it takes."""
    match action:
        case str():
            return action
        case Mask():
            return "mask"
        case Route():
            return "route"
        case _:
            assert_never(action)


class Treatment:
    """actions: as the settings of a direction have them; a mapping's `default` is for entities that it does not name.

    otherwise: the default of a mapping that has none.
    """

    def __init__(self, actions: Actions, otherwise: Action) -> None:
        self.each: Mapping[str, Action] = {k: v for k, v in actions.items() if k != "default"} if isinstance(actions, dict) else {}
        self.default: Action = actions.get("default", otherwise) if isinstance(actions, dict) else actions
        words = [word_of(action) for action in (self.default, *self.each.values())]
        self.searches = any(word != "off" for word in words)
        """Whether anything is looked for."""
        self.changes = any(word not in ("off", *_UNTOUCHED) for word in words)
        """Whether a finding may stop the text, or be replaced in it."""
        self.binds = any(word not in ("off", "report") for word in words)
        """Whether a finding has any effect on the request."""
        self.blocks = "block" in words
        """Whether a finding may stop the text."""
        self._uniform = len(set(words)) == 1

    def of(self, entity: str) -> Action:
        return self.each.get(entity, self.default)

    def word(self, entity: str) -> str:
        return word_of(self.of(entity))

    def leaves(self, entity: str) -> bool:
        """Whether findings stay as they are."""
        return self.word(entity) in _UNTOUCHED

    def apart(self, spans: Iterable[Span]) -> list[Span]:
        """Findings that overlap made one, named after the one that is treated the strictest; without those that are off."""
        if self._uniform:
            return disjoint(spans)
        treated = (span for span in spans if self.word(span.entity) != "off")
        return disjoint(treated, self._rank)

    def strictest(self, spans: Iterable[Span]) -> Span:
        """The finding that is treated the strictest. Raises ValueError where there is none."""
        return max(spans, key=self._rank)

    def _rank(self, span: Span) -> int:
        return _STRICTNESS.get(self.word(span.entity), _CHANGED)

    def places(self, entities: Iterable[str]) -> Mapping[str, frozenset[str]]:
        """Entity → the only upstreams a request with it may go to."""
        routes = {entity: self.of(entity) for entity in entities}
        return {entity: action.upstreams for entity, action in routes.items() if isinstance(action, Route)}
