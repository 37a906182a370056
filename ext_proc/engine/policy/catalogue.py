"""The catalogue of approved models: from the name a client asks for to its entry."""

import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase, translate
from functools import lru_cache

from headrace.ext_proc.core.facts import MODEL
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.policy.values import MAX_NAME

# Clients choose the names that are asked for, so the memory of them is bounded; catalogues are far smaller.
REMEMBERED_NAMES = 1024
_SPECIAL = re.compile(r"[*?\[]")


def is_glob(name: str) -> bool:
    """Whether `name` has a character that is special in a glob."""
    return _SPECIAL.search(name) is not None


def matcher(globs: Sequence[str]) -> Callable[[str], bool]:
    """A function that tells whether a name matches any of `globs`; capitals count."""
    pattern = re.compile("|".join(f"(?:{translate(glob)})" for glob in globs))
    return lambda name: pattern.match(name) is not None


def covers(glob: str, other: str) -> bool:
    """Whether every name that matches `other` matches `glob`. May say no where it cannot tell ([seq] in `other`)."""
    if "[" in other:
        return glob == other
    # A wildcard of `other` stands for characters that only a wildcard of `glob` can match, and `*` for none or several.
    stretched = (other.replace("?", "\0").replace("*", stars) for stars in ("", "\0\0\0"))
    return all(fnmatchcase(name, glob) for name in stretched)


class Catalogue:
    """The models of a policy, looked up by name. Immutable."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = tuple(models)
        self._by_name = {model.name: model for model in models}
        self._exact = {model.name: model for model in models if not is_glob(model.name)}
        self._globs = [(matcher([model.name]), model) for model in models if is_glob(model.name)]
        self._by_glob = lru_cache(REMEMBERED_NAMES)(self._first_glob)

    def find(self, name: str) -> Model | None:
        """The entry for `name`: the one of exactly this name, else the first whose glob matches, else None."""
        if len(name) > MAX_NAME:
            return None
        return self._exact.get(name) or self._by_glob(name)

    def of(self, request: Request) -> Model | None:
        """The entry of the model in the request's body; where a pool has put its own name there, the one that it stands for."""
        resolved = request.facts.get(MODEL)
        return self.find(request.call.model) or (self._by_name.get(resolved) if resolved is not None else None)

    def _first_glob(self, name: str) -> Model | None:
        return next((model for matches, model in self._globs if matches(name)), None)

    def __iter__(self) -> Iterator[Model]:
        return iter(self.models)

    def __len__(self) -> int:
        return len(self.models)
