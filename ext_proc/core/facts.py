"""Facts: what one filter found out and later ones rely on, under typed keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class Fact(Generic[T]):
    """A key, itself and no other of its name.

    of_body: the fact describes the body, and is forgotten as soon as the body is edited. binding: it is an order to later filters
    and no finding; a filter in shadow gives none.
    """

    name: str
    of_body: bool = False
    binding: bool = False


class _Get(Protocol):
    def __call__(self, fact: Fact[T], /) -> T | None: ...


class Facts:
    """The facts of one exchange; written by the exchange alone, when it applies a verdict."""

    __slots__ = ("_values", "get")

    def __init__(self) -> None:
        self._values: dict[Fact[Any], Any] = {}
        self.get: _Get = self._values.get
        """The value of a fact, or None. The dict's own: an exchange asks thirty times."""

    def add(self, facts: Mapping[Fact[Any], Any], *, shadow: bool = False) -> None:
        """shadow: of a filter whose verdicts do not count."""
        self._values.update({fact: value for fact, value in facts.items() if not fact.binding} if shadow else facts)

    def body_changed(self) -> None:
        for fact in [fact for fact in self._values if fact.of_body]:
            del self._values[fact]


INPUT_TOKENS: Fact[int] = Fact("input_tokens", of_body=True)
"""Counted tokens of the prompt as it stands."""
ESTIMATED: Fact[int | None] = Fact("estimated", of_body=True)
"""The estimate that INPUT_TOKENS is a correction of; None where the count is exact."""
ROUTE: Fact[str] = Fact("route", binding=True)
"""The upstream the request goes to."""
MODEL: Fact[str] = Fact("model")
"""The catalogue's entry the request was resolved to."""
ASKED: Fact[str] = Fact("asked")
"""The model's name as the client wrote it; the body may have another one by now."""
PLACEMENT: Fact[frozenset[str]] = Fact("placement", binding=True)
"""The only upstreams the request may go to; whoever routes takes no other. Absent: any."""
