"""What a doctor's rule is, whichever gateway's configuration it is on: a name, a check that yields what is wrong, and the mend."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

Subject = TypeVar("Subject")
Wrong = TypeVar("Wrong")


@dataclass(frozen=True)
class Rule(Generic[Subject, Wrong]):
    name: str
    mend: str
    check: Callable[[Subject], Iterator[Wrong]]


@dataclass(frozen=True)
class Finding:
    """One setting that would break Headrace. `line` is 0 where the file does not say."""

    file: str
    line: int
    rule: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}; {self.mend}" if self.line else f"{self.file}: {self.what}; {self.mend}"


class RuleList(list[Rule[Subject, Wrong]]):
    """A list that its `rule` decorator fills."""

    def rule(self, name: str, mend: str) -> Callable[[Callable[[Subject], Iterator[Wrong]]], Callable[[Subject], Iterator[Wrong]]]:
        def listed(check: Callable[[Subject], Iterator[Wrong]]) -> Callable[[Subject], Iterator[Wrong]]:
            self.append(Rule(name, mend, check))
            return check

        return listed
