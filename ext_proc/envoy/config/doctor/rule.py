"""Rules on how an Envoy is wired."""

from typing import NamedTuple

from headrace.ext_proc.envoy.config.doctor.wiring import Wiring
from headrace.ext_proc.envoy.config.nodes import Node
from headrace.ext_proc.envoy.config.rules import Rule as AnyRule
from headrace.ext_proc.envoy.config.rules import RuleList


class Wrong(NamedTuple):
    """Something wrong: in a mapping, at one of its keys or (key "") at its first line."""

    node: Node
    key: str
    what: str


Rule = AnyRule[Wiring, Wrong]
Rules = RuleList[Wiring, Wrong]
