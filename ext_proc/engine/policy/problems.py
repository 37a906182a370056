"""What is wrong with a policy: where, what, and what would be right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from headrace.ext_proc.core.errors import HeadraceError

Where = tuple[str | int, ...]
"""A place in the document: member names and list positions, such as ("budgets", 0, "window")."""


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong. line: from 1; 0 where the file as a whole is meant. where: the place, spelled out."""

    file: str
    line: int
    where: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(part for part in (place, self.where, self.message) if part)


class PolicyErrors(HeadraceError):
    """A policy that cannot be used, with everything that is wrong with it, in the order of its lines.

    files: the files it names, as far as that is known: one of them may be what has to change.
    """

    def __init__(self, problems: Iterable[Problem], files: Iterable[Path] = ()) -> None:
        self.problems: Sequence[Problem] = tuple(sorted(set(problems)))
        self.files = frozenset(files)
        super().__init__("\n".join(map(str, self.problems)))


def spelled(where: Where) -> str:
    """`where` as operators write it: budgets[0].window."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).removeprefix(".")


def suggestion(word: str, right: Iterable[str]) -> str:
    """What to say after naming an unknown `word`: the nearest of `right`, whatever its capitals and hyphens, else all of them.
    A word that one of them begins with is near, too.
    """
    known = list(right)
    folded = {_folded(one): one for one in known}
    longer = [one for one in folded if one.startswith(f"{_folded(word)}_")]
    if close := get_close_matches(_folded(word), folded, n=1, cutoff=0.6) or longer:
        return f"did you mean {folded[close[0]]!r}?"
    return f"there is {', '.join(sorted(known))}" if known else "there is none"


def _folded(word: str) -> str:
    return word.casefold().replace("-", "_")
