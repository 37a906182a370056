"""Where a request with regulated data may go: what the settings ask for, checked, and what a request's findings come to."""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.policy.problems import Where, suggestion
from headrace.ext_proc.engine.registry import Build
from headrace.filters.pii.action_settings import Action, Actions, Route

Report = Callable[[Where, str], None]

ROUTING = "routing"


def check_actions(actions: Actions, direction: str, build: Build, report: Report) -> None:
    """Reports upstreams that are not there or serve nothing, a chain in which nobody routes, and routes for answers."""
    for where, action in _listed(actions):
        if isinstance(action, Route):
            _check_route(action, (direction, *where), build, report)


def _listed(actions: Actions) -> list[tuple[Where, Action]]:
    return [((name,), action) for name, action in actions.items()] if isinstance(actions, dict) else [((), actions)]


def _check_route(action: Route, where: Where, build: Build, report: Report) -> None:
    if where[0] != "request":
        report(where, "an answer has come already, from wherever its request went; name the entity in request")
        return
    document = build.document
    served = {pool.upstream for model in document.models for pool in model.pools}
    for name in sorted(action.upstreams):
        if name not in document.upstreams:
            report((*where, "route"), f"there is no upstream {name!r}; {suggestion(name, document.upstreams)}")
        elif name not in served:
            report((*where, "route"), f"no model has a pool at {name!r}, so that every such request would be refused")
    if not _is_followed(document, build.at):
        report((*where, "route"), f"nobody obeys it: put the filter {ROUTING} behind pii in the chain")


def _is_followed(document: PolicyDocument, at: Where) -> bool:
    """Whether the chain routes behind this filter, which stands at `at`, or at several places where it is an override's."""
    names = [next(iter(entry)) for entry in document.filters]
    place = at[1] if at[:1] == ("filters",) and isinstance(at[1], int) else max(i for i, name in enumerate(names) if name == at[-1])
    return ROUTING in names[place + 1 :]


def common(places: Mapping[str, frozenset[str]], before: frozenset[str] | None) -> frozenset[str]:
    """The upstreams that every entity found, and every earlier filter, allows. places: of one entity at least."""
    allowed = reduce(frozenset.intersection, places.values())
    return allowed if before is None else allowed & before


def nowhere(places: Mapping[str, frozenset[str]], note: Mapping[str, Any]) -> Reply:
    """The refusal where what was found may not go anywhere together."""
    message = f"The request holds personal data ({', '.join(sorted(places))}) that no upstream may be sent together."
    return Reply(403, "pii.no_upstream", message, note=note)
