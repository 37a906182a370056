"""Importing a library without what it imports and we do not use: seconds of a start, and tens of megabytes in every worker.

For the main thread, before there are others: while one of these is open, any thread's imports are so.
"""

import gc
import importlib
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

UNUSED = ("httpx._main", "opentelemetry.metrics", "opentelemetry.sdk.metrics")
"""What libraries import where it is installed: httpx its command line, redis-py what it would measure itself with."""


@contextmanager
def absent(*names: str) -> Iterator[None]:
    """Imports within find that these optional modules are not installed, but for those that are loaded already."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None there makes an import fail: importlib's documentation
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Imports within are given stand-ins for these modules, which load them when something of theirs is used.

    What is imported must only name what it takes from them, in annotations or in functions that are called later. A module that is
    loaded already is given as it is.
    """
    stand_ins = {name: _Module(name) for name in names if name not in sys.modules}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


def imported(name: str) -> ModuleType:
    """The module, with no search for garbage meanwhile: what modules make is made to last, and looking at it again and again is a
    fifth of a large one's import.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        if collects:
            gc.enable()


def ahead(name: str) -> ModuleType:
    """The module of that name, before its package, which imports it afterwards as it is then."""
    if name in sys.modules:
        return sys.modules[name]
    package, _, module = name.rpartition(".")
    found = importlib.util.find_spec(package)
    spec = found and importlib.machinery.PathFinder.find_spec(name, found.submodule_search_locations)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"no module named {module!r} in {package}", name=name)
    made = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


class _Module(ModuleType):
    """Every name taken from it is a stand-in for the real module's."""

    def __getattr__(self, name: str) -> "_Name":
        if name.startswith("__"):  # what the import system asks of a module
            raise AttributeError(name)
        return _Name(self.__name__, name)


class _Name:
    """Called, asked for an attribute, or for what its instances are, it is the real one."""

    def __init__(self, module: str, name: str) -> None:
        self._module, self._name = module, name

    def _real(self) -> Any:
        return getattr(importlib.import_module(self._module), self._name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what typing asks of everything
            raise AttributeError(name)
        return getattr(self._real(), name)

    def __or__(self, other: object) -> "_Name":  # in an annotation, which nobody reads
        return self

    __ror__ = __or__

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real())
