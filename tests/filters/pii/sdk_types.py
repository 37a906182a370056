"""Requests made of the types that an SDK has for them: every member of every type stands in one of them."""

import types
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin

from typing_extensions import get_type_hints, is_typeddict

_DEEPEST = 9
"""Types that contain themselves end here."""
_WRAPPERS = (Required, NotRequired, Annotated)
_UNIONS = (Union, types.UnionType)
_PLAIN: Mapping[Any, Any] = {
    str: "some words",
    int: 5,
    float: 0.5,
    bool: True,
    object: {"mine": "some words"},
    Any: {"mine": "x y"},
}


def members(request: Any) -> Iterator[Any]:
    """Documents that have one member of the request's type each."""
    for name, kind in get_type_hints(request).items():
        yield from ({name: value} for value in values(kind))


def values(kind: Any, depth: int = 0) -> Iterator[Any]:
    """Values of a type; those of a union are of each of its types."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind in _PLAIN:
        yield _PLAIN[kind]
    elif origin is Literal:
        yield inner[0]
    elif origin in _WRAPPERS:
        yield from values(inner[0], depth)
    elif origin in _UNIONS:
        for each in inner:
            yield from values(each, depth)
    elif is_typeddict(kind):
        yield from _objects(kind, depth + 1) if depth < _DEEPEST else ()
    elif origin in (dict, Mapping):
        yield {"mine": "some words"}
    elif inner:  # lists of several names
        yield from ([value] for value in values(inner[0], depth + 1))


def _objects(kind: Any, depth: int) -> Iterator[Any]:
    """One with the first value of each member, and one for every other value of a member."""
    given = {name: list(values(each, depth)) for name, each in get_type_hints(kind).items()}
    usual = {name: found[0] for name, found in given.items() if found}
    yield usual
    yield from (usual | {name: value} for name, found in given.items() for value in found[1:])
