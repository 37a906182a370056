"""What one policy asks of the gateway in front, beyond what every policy does."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from headrace.ext_proc.envoy.config.doctor.processor import string_matches
from headrace.ext_proc.envoy.config.doctor.rule import Rule, Rules, Wrong
from headrace.ext_proc.envoy.config.doctor.wiring import Wiring
from headrace.ext_proc.envoy.config.names import FAILOVER, ROUTE_HEADER, UPSTREAM_HEADER
from headrace.ext_proc.envoy.config.nodes import Node, items, walk
from headrace.ext_proc.envoy.config.nodes import field as at


@dataclass(frozen=True)
class Wanted:
    """upstreams: that a decision may name. attempts: of an upstream, what is done where the gateway calls for every attempt.
    failover: another upstream where one fails.
    """

    upstreams: Sequence[str] = ()
    attempts: Mapping[str, str] = field(default_factory=dict)
    failover: bool = False


def rules_of(wanted: Wanted) -> Sequence[Rule]:
    """The rules of one policy."""
    rules = Rules()

    @rules.rule("upstream-route", f"add a route for each that matches its name in {ROUTE_HEADER}: see envoy/README.md")
    def routes(wiring: Wiring) -> Iterator[Wrong]:
        if wiring.table is not None and len(wanted.upstreams) > 1:
            missed = [name for name in wanted.upstreams if not any(_leads_to(route, name) for _, route in wiring.routes())]
            if missed:
                where = f"no route of listener {wiring.manager.listener_name} matches {ROUTE_HEADER}: {', '.join(missed)}"
                yield Wrong(wiring.table, "", f"{where}: what is decided to go there goes elsewhere")

    @rules.rule("upstream-attempts", _MEND)
    def attempts(wiring: Wiring) -> Iterator[Wrong]:
        called = _called_at(wiring.root)
        for name, what in wanted.attempts.items():
            if name not in called:
                yield Wrong(wiring.processor, "", f"the service is not called for attempts at {name}: {what}")

    @rules.rule("policy-failover", _MEND_ROUTES)
    def failover(wiring: Wiring) -> Iterator[Wrong]:
        if wanted.failover and FAILOVER not in wiring.capabilities:
            what = "the gateway asks no other upstream where one fails: the policy's failover has no effect"
            yield Wrong(wiring.processor, "", what)

    return rules


_MEND: Final = "use the routes and clusters that `headrace envoy config` writes"
_MEND_ROUTES: Final = "write the routes as `headrace envoy config` does, then run `headrace envoy patch`"
RULE_NAMES: Final = tuple(rule.name for rule in rules_of(Wanted()))


def _leads_to(route: Node, name: str) -> bool:
    headers = [one for one in items(route, "match", "headers") if str(at(one, "name")).lower() == ROUTE_HEADER]
    return any(at(one, "exact_match") == name or string_matches(at(one, "string_match"), name) for one in headers)


def _called_at(root: Node) -> frozenset[str]:
    """The upstreams whose own filters call the service."""
    headers = (header for service in walk(root) for header in items(service, "initial_metadata"))
    return frozenset(str(at(header, "value")) for header in headers if str(at(header, "key")).lower() == UPSTREAM_HEADER)
