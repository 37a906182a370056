"""HTTP headers as the proxy gives them: names in lower case, several values per name, order kept."""

from collections.abc import Iterable, Iterator

Pair = tuple[str, str]


class Headers:
    """An immutable multi-map of header names (lower case) to values."""

    __slots__ = ("_first", "_repeats", "pairs")

    def __init__(self, pairs: Iterable[Pair] = ()) -> None:
        self.pairs: tuple[Pair, ...] = tuple(pairs)
        self._first = dict(self.pairs)
        self._repeats = len(self._first) < len(self.pairs)
        if self._repeats:  # the last of several won
            self._first.update(reversed(self.pairs))

    def get(self, name: str, default: str = "") -> str:
        """The first value of `name` (lower case), or `default`."""
        return self._first.get(name, default)

    def get_all(self, name: str) -> tuple[str, ...]:
        """Every value of `name`, in order; several values are how a client tries to be two people at once."""
        if name not in self._first:
            return ()
        return tuple(value for key, value in self.pairs if key == name) if self._repeats else (self._first[name],)

    def names(self) -> Iterable[str]:
        return self._first.keys()

    def __contains__(self, name: object) -> bool:
        return name in self._first

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    def __repr__(self) -> str:
        return f"Headers({sorted(self._first)})"  # names only: values hold credentials
