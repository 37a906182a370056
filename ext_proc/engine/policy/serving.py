"""What must hold where one model answers for another: every name leads to pools, and none in a circle."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from headrace.ext_proc.engine.policy.catalogue import Catalogue, covers, is_glob
from headrace.ext_proc.engine.policy.models import Model, PolicyDocument
from headrace.ext_proc.engine.policy.pools import stand_in
from headrace.ext_proc.engine.policy.problems import Where, suggestion

Found = Iterator[tuple[Where, str]]

_OF_A_NAME = {"name", "served_by", "sunset", "successor"}
"""What may be said of a name for which other models answer."""


def stand_ins_serve(document: PolicyDocument) -> Found:
    catalogue = Catalogue(document.models)
    for index, model in enumerate(document.models):
        if not model.served_by:
            continue
        where = ("models", index, "served_by")
        for name in sorted(model.model_fields_set - _OF_A_NAME):
            yield ("models", index, name), "is of no use: other models answer for this name; say it of them"
        names = [stand_in(one).model for one in model.served_by]
        for place, name in enumerate(names):
            if name in names[:place]:
                yield (*where, place), f"{name!r} is served_by[{names.index(name)}] already"
            elif message := _useless(name, catalogue):
                yield (*where, place), message
        if all(stand_in(one).weight == 0 for one in model.served_by):
            yield where, "every weight is 0; give one of them a share"


def _useless(name: str, catalogue: Catalogue) -> str:
    """Why nobody can be sent to the model of that name; empty where one can."""
    if is_glob(name):
        return f"{name!r} stands for several models; name one that it matches"
    if (found := catalogue.find(name)) is None:
        return f"there is no model {name!r}; {suggestion(name, [model.name for model in catalogue])}"
    if found.served_by:
        return f"{name!r} is itself served by others; name those"
    return "" if found.pools else f"{name!r} has no pools; give it some, such as [{{upstream: standard}}]"


def successors_serve(document: PolicyDocument) -> Found:
    catalogue = Catalogue(document.models)
    for index, model in enumerate(document.models):
        if model.successor is None:
            continue
        where = ("models", index, "successor")
        if model.sunset is None:
            yield where, "needs a sunset, the day from which on it answers"
        if catalogue.find(model.successor) is None:
            yield where, f"there is no model {model.successor!r}; {suggestion(model.successor, [one.name for one in catalogue])}"
        elif _returns(model, catalogue):
            yield where, f"leads back to {model.name!r}; a succession must end"


def _returns(model: Model, catalogue: Catalogue) -> bool:
    """Whether the model is among those that may answer in its place."""
    waiting, seen = list(_next(model, catalogue)), set()
    while waiting:
        found = waiting.pop()
        if found.name == model.name:
            return True
        if found.name not in seen:
            seen.add(found.name)
            waiting += _next(found, catalogue)
    return False


def _next(model: Model, catalogue: Catalogue) -> Iterator[Model]:
    names = [*([model.successor] if model.successor else []), *(stand_in(one).model for one in model.served_by)]
    return (found for name in names if (found := catalogue.find(name)) is not None)


def routing_comes_before_budget(document: PolicyDocument) -> Found:
    """Where the model that answers is not the one asked for: its tokens and its price are what a budget must hold."""
    names = [name for entry in document.filters for name in entry]
    rewrites = next((index for index, model in enumerate(document.models) if model.served_by or model.successor), None)
    if rewrites is None or "routing" not in names or "budget" not in names or names.index("routing") < names.index("budget"):
        return
    message = f"must stand before budget, which reserves what the model costs that answers for models[{rewrites}]"
    yield ("filters", names.index("routing"), "routing"), message


def accepted_models_exist(document: PolicyDocument) -> Found:
    known = [model.name for model in document.models]
    for where, settings in routing_settings(document):
        accepted = settings.get("accept")
        for place, glob in enumerate(accepted if isinstance(accepted, list) else ()):
            if isinstance(glob, str) and not any(covers(glob, name) or covers(name, glob) for name in known):
                yield (*where, "accept", place), f"no model of the catalogue matches {glob!r}; {suggestion(glob, known)}"


def routing_settings(document: PolicyDocument) -> Iterator[tuple[Where, Mapping[str, Any]]]:
    """Every place with settings of the routing filter."""
    for index, entry in enumerate(document.filters):
        if "routing" in entry:
            yield ("filters", index, "routing"), entry["routing"]
    for index, override in enumerate(document.overrides):
        if "routing" in override.set:
            yield ("overrides", index, "set", "routing"), override.set["routing"]


SERVING: Sequence[Callable[[PolicyDocument], Found]] = (
    stand_ins_serve,
    successors_serve,
    routing_comes_before_budget,
    accepted_models_exist,
)
