"""Settings that would break Headrace without a word, found in a configuration before the traffic finds them."""

from collections.abc import Iterator, Sequence
from typing import Final

from headrace.ext_proc.envoy.config.doctor import bypass, chain, cluster, processor, routes, usage
from headrace.ext_proc.envoy.config.doctor.rule import Rule
from headrace.ext_proc.envoy.config.doctor.wanted import Wanted, rules_of
from headrace.ext_proc.envoy.config.doctor.wiring import wirings
from headrace.ext_proc.envoy.config.document import Document
from headrace.ext_proc.envoy.config.names import BODY_LIMIT, CLUSTER
from headrace.ext_proc.envoy.config.nodes import field, line_of
from headrace.ext_proc.envoy.config.rules import Finding

__all__ = ["RULES", "Finding", "Wanted", "examine", "unseen"]

RULES: Final[tuple[Rule, ...]] = (*processor.RULES, *usage.RULES, *chain.RULES, *cluster.RULES, *routes.RULES, *bypass.RULES)

UNSEEN: Final = {
    "rds": "come from elsewhere and were not examined; give what Envoy's admin interface has at /config_dump",
    "scoped_routes": "are scoped and were not examined; compare them with what `headrace envoy config` writes",
}
"""What a connection manager has instead of routes."""


def examine(
    document: Document, service: str = CLUSTER, body_limit: int = BODY_LIMIT, wanted: Wanted | None = None
) -> list[Finding]:
    """What is wrong in a bootstrap, a file of resources, or an admin interface's config_dump, in the order of lines.

    service: the name of the service's cluster. body_limit: bytes of the largest prompt. wanted: what the policy asks for.
    """
    rules = (*RULES, *rules_of(wanted or Wanted()))
    found = sorted(dict.fromkeys(_findings(document, rules, service, body_limit)), key=lambda finding: (finding.line, finding.rule))
    return found or list(_absence(document, service, body_limit))


def unseen(document: Document, service: str = CLUSTER) -> list[str]:
    """Where no rule on routes could look at those of a gateway that calls the service."""
    places = {
        (line_of(wiring.manager.config, kind), wiring.manager.listener_name, why)
        for wiring in wirings(document.root, service, BODY_LIMIT)
        for kind, why in UNSEEN.items()
        if wiring.table is None and field(wiring.manager.config, kind) is not None
    }
    return [f"{document.name}:{line}: the routes of listener {name} {why}" for line, name, why in sorted(places)]


def _findings(document: Document, rules: Sequence[Rule], service: str, body_limit: int) -> Iterator[Finding]:
    for wiring in wirings(document.root, service, body_limit):
        for rule in rules:
            for wrong in rule.check(wiring):
                yield Finding(document.name, line_of(wrong.node, wrong.key), rule.name, wrong.what, rule.mend)


def _absence(document: Document, service: str, body_limit: int) -> Iterator[Finding]:
    if next(wirings(document.root, service, body_limit), None) is None:
        what = f"no ext_proc filter calls the cluster {service}: no request reaches Headrace"
        yield Finding(document.name, 0, "ext-proc", what, "run `headrace envoy patch` on it, or name the cluster with --cluster")
