"""Rules on the files of an APISIX."""

from typing import NamedTuple

from headrace.ext_proc.apisix.doctor.site import Site
from headrace.ext_proc.envoy.config.nodes import Node
from headrace.ext_proc.envoy.config.rules import Rule as AnyRule
from headrace.ext_proc.envoy.config.rules import RuleList


class Wrong(NamedTuple):
    """Something wrong: at a key of a mapping, at the mapping's first line (key ""), or in the file as a whole (no node)."""

    file: str
    node: Node
    key: str
    what: str


Rule = AnyRule[Site, Wrong]
Rules = RuleList[Site, Wrong]
