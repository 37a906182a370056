"""What a request's findings come to: refused, sent to certain upstreams only, or sent with something in their place."""

from collections.abc import Mapping
from typing import Any

from headrace.ext_proc.core.facts import PLACEMENT
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.verdict import PASS, Continue, Edits, Reply, Verdict
from headrace.filters.pii.actions import Substitutes
from headrace.filters.pii.placing import common, nowhere
from headrace.filters.pii.rewriting import members
from headrace.filters.pii.scan import Scan
from headrace.filters.pii.strings import spelled
from headrace.filters.pii.treatment import Treatment

MOST_PATHS = 20
"""Paths named in a refusal or a record: enough to find the place, too few to fill a log."""


def refusal(scan: Scan, treatment: Treatment, *, refuse_undeclared: bool) -> Reply | None:
    """The reply to a request that may not go on, or None."""
    if scan.undeclared and refuse_undeclared:
        return _undeclared(scan, treatment)
    found = frozenset(scan.counts)
    if blocked := frozenset(entity for entity in found if treatment.word(entity) == "block"):
        return _blocked(scan, blocked, note_of(scan, treatment))
    if named := frozenset(entity for entity, _ in scan.in_names if not treatment.leaves(entity)):
        return _in_names(named, note_of(scan, treatment))
    return None


def passed(scan: Scan, treatment: Treatment, substitute: Substitutes, request: Request) -> Verdict:
    """The verdict on a request that nothing refuses outright."""
    note = note_of(scan, treatment)
    if not scan.found and not scan.in_names:
        return Continue(note=note) if note else PASS
    places = treatment.places(scan.counts)
    if not places:
        return Continue(Edits(members=members(scan.found, substitute)), note=note)
    allowed = common(places, request.facts.get(PLACEMENT))
    if not allowed:
        return nowhere(places, note)
    note = {**note, "upstreams": sorted(allowed)}
    return Continue(Edits(members=members(scan.found, substitute)), facts={PLACEMENT: allowed}, note=note, reason="pii.placed")


def note_of(scan: Scan, treatment: Treatment) -> Mapping[str, Any]:
    """What the decision shows: entities, actions and places, never a value."""
    note: dict[str, Any] = {}
    if counts := scan.counts:
        paths = scan.paths(frozenset(counts))
        note = {"action": actions_of(treatment, counts), "findings": dict(counts), "paths": list(paths[:MOST_PATHS])}
    if scan.undeclared:
        note["undeclared"] = list(dict.fromkeys(map(spelled, scan.undeclared)))[:MOST_PATHS]
    if scan.unnamed:
        note["unnamed"] = scan.unnamed
    return note | ({"unread": dict(scan.unread)} if scan.unread else {})


def actions_of(treatment: Treatment, counts: Mapping[str, int]) -> str | Mapping[str, str]:
    """One word where all findings are treated alike, else one for each entity."""
    words = {entity: treatment.word(entity) for entity in counts}
    return next(iter(words.values())) if len(set(words.values())) == 1 else words


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - MOST_PATHS} more places" if len(paths) > MOST_PATHS else ""
    return f"{', '.join(paths[:MOST_PATHS])}{more}"


def _blocked(scan: Scan, entities: frozenset[str], note: Mapping[str, Any]) -> Reply:
    paths = list(scan.paths(entities))
    message = f"The request contains personal data that may not leave: {', '.join(sorted(entities))} at {_listed(paths)}."
    return Reply(400, "pii.blocked", message, param=paths[0], note=note)


def _in_names(entities: frozenset[str], note: Mapping[str, Any]) -> Reply:
    named = ", ".join(sorted(entities))
    message = f"The request has personal data ({named}) in the name of a JSON member, where it cannot be replaced."
    return Reply(400, "pii.in_name", message, note=note)


def _undeclared(scan: Scan, treatment: Treatment) -> Reply:
    paths = list(dict.fromkeys(map(spelled, scan.undeclared)))
    message = f"The request has text where the API defines none: {_listed(paths)}."
    return Reply(400, "pii.undeclared", message, param=paths[0], note=note_of(scan, treatment))
