"""Settings of APISIX that would break Headrace, found before the traffic finds them."""

from collections.abc import Iterator, Mapping
from typing import Final

from headrace.ext_proc.apisix.doctor import plugin_rules, route_rules, settings_rules
from headrace.ext_proc.apisix.doctor.rule import Rule
from headrace.ext_proc.apisix.doctor.site import Site, Version, read_site
from headrace.ext_proc.envoy.config.nodes import line_of
from headrace.ext_proc.envoy.config.rules import Finding

__all__ = ["RULES", "Finding", "examine"]

RULES: Final[tuple[Rule, ...]] = (*settings_rules.RULES, *plugin_rules.RULES, *route_rules.RULES)


def examine(texts: Mapping[str, str], version: Version) -> tuple[Finding, ...]:
    """Every finding in the files of one APISIX, by file and line. Raises ApisixError for a file that is none of its own."""
    site = read_site(texts, version)
    return tuple(sorted(_findings(site), key=lambda finding: (finding.file, finding.line)))


def _findings(site: Site) -> Iterator[Finding]:
    for rule in RULES:
        for wrong in rule.check(site):
            line = line_of(wrong.node, wrong.key or None)
            yield Finding(wrong.file, line, rule.name, wrong.what, rule.mend)
