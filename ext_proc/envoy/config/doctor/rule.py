"""What a rule is: a name, a check that yields what is wrong and where, and the mend."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from headrace.ext_proc.envoy.config.doctor.wiring import Wiring
from headrace.ext_proc.envoy.config.nodes import Node


class Wrong(NamedTuple):
    """Something wrong: in a mapping, at one of its keys or (key "") at its first line."""

    node: Node
    key: str
    what: str


Check = Callable[[Wiring], Iterator[Wrong]]


@dataclass(frozen=True)
class Rule:
    name: str
    mend: str
    check: Check


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


class Rules(list[Rule]):
    """A list that its `rule` decorator fills."""

    def rule(self, name: str, mend: str) -> Callable[[Check], Check]:
        def listed(check: Check) -> Check:
            self.append(Rule(name, mend, check))
            return check

        return listed
