"""Who may answer for a name: the pools of its model, of the models that serve it, or of its successor."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.policy.pools import Kind, Pool, StandIn, stand_in


class Offer(NamedTuple):
    """A model in a pool of its own.

    name: what the catalogue's entry `model` is asked for. pool: None where the gateway's own route serves it. suits, weight: of
    the model among those that serve one name. gone: the day from which on it answers no more, where that has come.
    """

    model: Model
    name: str
    pool: Pool | None = None
    suits: Kind | None = None
    weight: int | None = None
    gone: str | None = None

    @property
    def is_plain(self) -> bool:
        """Whether nothing of its own puts it before others or behind them."""
        return self.suits is None and self.weight is None and (self.pool is None or self.pool.weight is None)

    @property
    def served(self) -> str:
        """What the upstream calls the model."""
        return (self.pool.model if self.pool else None) or self.name

    def note(self, asked: str) -> Mapping[str, Any]:
        """For the decision; the model where it is not the one asked for."""
        upstream = {"upstream": self.pool.upstream if self.pool else None}
        return upstream if self.name == asked else {**upstream, "model": self.name}


_ITSELF = stand_in("-")


REMEMBERED = 1024
"""Names whose offers are remembered; globs stand for as many as clients think of."""


class Offers:
    """Of one policy's catalogue, which the compiler has checked: names lead to entries, and none in a circle."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._is_timeless = all(model.sunset is None for model in catalogue)
        self._known = lru_cache(REMEMBERED)(self._named_once)

    def of(self, model: Model, name: str, now_ms: int) -> Sequence[Offer]:
        """Every offer in the policy's order, each model's once. model: the entry of `name`."""
        return self._known(name) if self._is_timeless else self._found(model, name, now_ms)

    def _named_once(self, name: str) -> Sequence[Offer]:
        model = self._catalogue.find(name)
        assert model is not None, "the caller has looked for it"
        return self._found(model, name, 0)

    def _found(self, model: Model, name: str, now_ms: int) -> Sequence[Offer]:
        found: dict[tuple[str, int], Offer] = {}
        for one in self._of(model, name, now_ms, _ITSELF):
            found.setdefault((one.name, id(one.pool)), one)
        return list(found.values())

    def _of(self, model: Model, name: str, now_ms: int, of: StandIn) -> Iterator[Offer]:
        if model.sunset is not None and now_ms >= midnight_ms(model.sunset):
            yield from self._own(model, name, of, model.sunset)
            if model.successor is not None:
                yield from self._named(model.successor, now_ms, of)
        elif model.served_by:
            for one in map(stand_in, model.served_by):
                yield from self._named(one.model, now_ms, one)
        else:
            yield from self._own(model, name, of, None)

    def _named(self, name: str, now_ms: int, of: StandIn) -> Iterator[Offer]:
        model = self._catalogue.find(name)
        assert model is not None, "the compiler has looked for it"
        return self._of(model, name, now_ms, of)

    def _own(self, model: Model, name: str, of: StandIn, gone: str | None) -> Iterator[Offer]:
        return (Offer(model, name, pool, of.suits, of.weight, gone) for pool in model.pools or (None,))


def midnight_ms(day: str) -> int:
    """With which the day begins, in UTC; epoch milliseconds."""
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
