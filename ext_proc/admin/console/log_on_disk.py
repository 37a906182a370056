"""A log on this machine as a source: readings of it run on threads, two at a time."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, Protocol, TypeVar

from headrace.ext_proc.admin.console.log import Found, LogUnreadable, Record, Search

AT_ONCE = 2

Opened = TypeVar("Opened")
Given = TypeVar("Given", contravariant=True)
Value = TypeVar("Value")


class Searching(Protocol[Given]):
    def __call__(self, opened: Given, /, *, wanted: Search, after: str, limit: int) -> Found: ...


class Readings(NamedTuple, Generic[Opened]):
    """What a DecisionSource is asked for, of a log that is open."""

    search: Searching[Opened]
    about: Callable[[Opened, str], Sequence[Record]]
    latest: Callable[[Opened, str, int], Sequence[Record]]


class LogOnDisk(Generic[Opened]):
    """A DecisionSource. open: gives a reading what it reads, and raises OSError where there is none."""

    def __init__(self, path: Path, open: Callable[[Path], AbstractContextManager[Opened]], readings: Readings[Opened]) -> None:
        self._path, self._open, self._readings = path, open, readings
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def search(self, wanted: Search, after: str, limit: int) -> Found:
        return await self._read(partial(self._readings.search, wanted=wanted, after=after, limit=limit))

    async def about(self, exchange: str) -> Sequence[Record]:
        return await self._read(lambda opened: self._readings.about(opened, exchange))

    async def latest(self, kind: str, most: int) -> Sequence[Record]:
        return await self._read(lambda opened: self._readings.latest(opened, kind, most))

    async def _read(self, read: Callable[[Opened], Value]) -> Value:
        async with self._turn:
            return await asyncio.to_thread(self._with, read)

    def _with(self, read: Callable[[Opened], Value]) -> Value:
        try:
            with self._open(self._path) as opened:
                return read(opened)
        except OSError as error:
            raise LogUnreadable(f"{self._path}: {(error.strerror or str(error)).lower()}") from None
