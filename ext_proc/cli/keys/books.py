"""Where keys are kept: a file, or the service's store."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import typer

from headrace.ext_proc.cli.stores import with_store
from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.engine import key_store
from headrace.ext_proc.engine.key_changes import FreshKey, KeyEnded, revoked
from headrace.ext_proc.engine.key_files import read_keys, write_keys
from headrace.ext_proc.engine.keys import PEPPER_VARIABLE, KeyRecord, load_pepper, make_pepper
from headrace.ext_proc.engine.policy.problems import suggestion
from headrace.ext_proc.engine.rosters import everyone

Make = Callable[[bytes], FreshKey]
"""Of a pepper."""
Turn = Callable[[KeyRecord, bytes], tuple[FreshKey, KeyRecord]]
"""Of an old key and a pepper: a new key, and the old one as it ends. Raises KeyEnded."""


class Book(Protocol):
    """Raises HeadraceError, OSError and BadParameter: sentences for whoever typed the command."""

    def all(self) -> Sequence[KeyRecord]: ...
    def add(self, make: Make) -> FreshKey: ...
    def rotate(self, id: str, turn: Turn) -> tuple[FreshKey, KeyRecord]: ...
    def revoke(self, id: str, now: datetime) -> None: ...


@dataclass(frozen=True)
class FileBook:
    """Keys in a file. Only one command changes a directory's files at a time: what two add at once, both find there."""

    file: Path
    pepper: Path

    def __str__(self) -> str:
        return str(self.file)

    def all(self) -> Sequence[KeyRecord]:
        return read_keys(self.file)

    def add(self, make: Make) -> FreshKey:
        with _locked(self.file):
            kept = self.all() if self.file.exists() else ()
            fresh = make(pepper_of(self.pepper))
            write_keys(self.file, (*kept, fresh.record))
        return fresh

    def rotate(self, id: str, turn: Turn) -> tuple[FreshKey, KeyRecord]:
        with _locked(self.file):
            kept = self.all()
            old = self._find(kept, id)
            with _still_usable():
                fresh, ending = turn(old, load_pepper(self.pepper, os.environ))
            write_keys(self.file, (*(ending if one.id == id else one for one in kept), fresh.record))
        return fresh, ending

    def revoke(self, id: str, now: datetime) -> None:
        with _locked(self.file):
            kept = self.all()
            self._find(kept, id)
            write_keys(self.file, tuple(revoked(key, now) if key.id == id else key for key in kept))

    def _find(self, kept: Sequence[KeyRecord], id: str) -> KeyRecord:
        """Raises BadParameter where there is none."""
        for key in kept:
            if key.id == id:
                return key
        hint = suggestion(id, [key.id for key in kept[-10:]])
        raise typer.BadParameter(f"{self.file} has no key {id!r}; {hint}", param_hint="ID")


@dataclass(frozen=True)
class StoreBook:
    """Keys in the service's store. who: changes them, for the audit trail."""

    url: str
    pepper: Path
    who: str

    def __str__(self) -> str:
        return "the store"

    def all(self) -> Sequence[KeyRecord]:
        return with_store(self.url, _all)

    def add(self, make: Make) -> FreshKey:
        fresh = make(pepper_of(self.pepper))
        with_store(self.url, lambda store: _put(store, fresh))
        return fresh

    def rotate(self, id: str, turn: Turn) -> tuple[FreshKey, KeyRecord]:
        pepper = load_pepper(self.pepper, os.environ)
        with _still_usable():
            return with_store(self.url, lambda store: key_store.rotate_key(store, id, lambda old: turn(old, pepper)))

    def revoke(self, id: str, now: datetime) -> None:
        with_store(self.url, lambda store: key_store.revoke_key(store, id, now, self.who))


async def _all(store: Store) -> Sequence[KeyRecord]:
    found = [key_store.unpacked(listed) async for listed in everyone(store, key_store.ROSTER)]
    return [key for key in found if key is not None]


async def _put(store: Store, fresh: FreshKey) -> None:
    await key_store.put_key(store, fresh.record)


@contextmanager
def _still_usable() -> Iterator[None]:
    """KeyEnded as BadParameter."""
    try:
        yield
    except KeyEnded as error:
        raise typer.BadParameter(f"{error}; make a new key with `headrace keys create`", param_hint="ID") from None


def pepper_of(path: Path) -> bytes:
    """Made where there is none. Raises PepperError and OSError."""
    if PEPPER_VARIABLE not in os.environ and not path.exists():
        make_pepper(path)
        typer.echo(f"Made {path}: keep it secret, and give it to every service that reads these keys.", err=True)
    return load_pepper(path, os.environ)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)
