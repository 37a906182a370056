"""What a rule is: a name, a check that yields what is wrong and where, and the mend."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from headrace.ext_proc.apisix.doctor.site import Site
from headrace.ext_proc.envoy.config.nodes import Node


class Wrong(NamedTuple):
    """Something wrong: at a key of a mapping, at the mapping's first line (key ""), or in the file as a whole (no node)."""

    file: str
    node: Node
    key: str
    what: str


Check = Callable[[Site], Iterator[Wrong]]


@dataclass(frozen=True)
class Rule:
    name: str
    mend: str
    check: Check


class Rules(list[Rule]):
    """A list that its `rule` decorator fills."""

    def rule(self, name: str, mend: str) -> Callable[[Check], Check]:
        def listed(check: Check) -> Check:
            self.append(Rule(name, mend, check))
            return check

        return listed
