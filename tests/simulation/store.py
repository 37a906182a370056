"""The store as workers meet it: one server that outlives them, and a link from each of them that fails as networks do."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from headrace.ext_proc.core.ledger import EMPTY, Admitted, Charge, Closed, Closing, Entry, Exhausted, Fixed, Record, Spent
from headrace.ext_proc.core.ports import NeverSent, StoreUnavailable
from headrace.ext_proc.core.roster import Changes, Listed, Seen
from headrace.ext_proc.stores.memory import MemoryStore
from tests.simulation.books import Books, Counter, Wrong
from tests.simulation.chance import Lane
from tests.simulation.loop import OWNER

REPLY_S = 0.5
"""Seconds after which a worker gives a reply up, as RedisStore does."""
LATE_S = 20.0
"""Seconds that a command may still wait somewhere when its sender has given it up."""

KNOWN_MS = 60_000
"""For so long a window that has ended is known to whoever's clock lags."""

AUDIT_ALL = 16
"""Once in so many changes every counter is looked at: a change must not reach one that it does not name."""

FATES = ("at once", "slow", "refused", "lost", "answer lost", "late")


class StoreServer:
    """Keeps what it was told, and books of it."""

    def __init__(self, clock: Callable[[], int], violated: Callable[[str], None]) -> None:
        self._clock = clock
        self.memory = MemoryStore()
        self.books = Books()
        self.away = self.calm = False
        """Whether nobody can reach it; whether everybody can."""
        self.commands: list[tuple[str, tuple[Any, ...], dict[str, Any], Any]] = []
        """Each with its answer, for a real server to be asked the same."""
        self._violated = violated
        self._now_ms = self._changes = 0

    def do(self, name: str, *args: Any, **options: Any) -> Any:
        """One command. Raises what the store raises."""
        if name == "time_ms":
            return self._clock()
        try:
            answer = _done(getattr(self.memory, name)(*args, **options))
        except ValueError as error:
            self.commands.append((name, args, options, str(error)))
            raise
        self.commands.append((name, args, options, answer))
        try:
            self._book(name, args, options, answer)
        except Wrong as wrong:
            self._violated(str(wrong))
        return answer

    def _book(self, name: str, args: tuple[Any, ...], options: dict[str, Any], answer: Any) -> None:
        self._now_ms = max(self._now_ms, options.get("now_ms", 0))
        if name == "reserve":
            self.books.reserved(args[0], args[1], args[2], options["now_ms"], options["ttl_ms"], answer)
        elif name == "extend":
            self.books.extended(args[0], args[1], args[2], options["now_ms"], options["ttl_ms"], answer)
        elif name == "settle_many":
            self.books.closed(args[0], args[1], answer)

    def audit_changes(self) -> None:
        """Compares the counters that were drawn on since the last look with the books; now and then those too that were not."""
        if changed := self.books.changed:
            self._changes += 1
            for counter in self.books.of_counter if self._changes % AUDIT_ALL == 0 else changed:
                self._audit(counter)
            changed.clear()

    def audit_all(self) -> None:
        for counter in self.books.of_counter:
            self._audit(counter)

    def _audit(self, counter: Counter) -> None:
        organisation, name, unit, window = counter
        now_ms = window.start_ms if isinstance(window, Fixed) else self._now_ms
        if isinstance(window, Fixed) and window.end_ms + KNOWN_MS <= self._now_ms:
            return
        held = self.held(counter, now_ms)
        least, most = self.books.least(counter, now_ms), self.books.most(counter, now_ms)
        if not least <= held <= most:
            self._violated(f"counter {name} of {organisation} in {unit} over {window} holds {held}, not {least} to {most}")

    def held(self, counter: Counter, now_ms: int) -> int:
        organisation, name, unit, window = counter
        (held,) = _done(self.memory.read(organisation, [Charge(name, unit, 0, 0, window)], now_ms=now_ms))
        return int(held)


def _done(call: Coroutine[Any, Any, Any]) -> Any:
    """What a coroutine returns that waits for nothing."""
    try:
        call.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("a store in memory never waits")


class StoreLink:
    """A worker's `Store`. fate: chooses what becomes of each command; faults: how often it is none of the good ones."""

    def __init__(self, server: StoreServer, fate: Lane, faults: float) -> None:
        self._server, self._fate, self._faults = server, fate, faults

    async def _told(self, name: str, *args: Any, **options: Any) -> Any:
        """Raises StoreUnavailable, and what the store raises."""
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[Any] = loop.create_future()
        apply = partial(self._apply, reply, name, args, options)
        fate = FATES[self._fate.pick(len(FATES), self._faults, "store")]
        if self._server.calm or self._server.away:
            fate = "refused" if self._server.away else "at once"
        match fate:
            case "refused":
                raise NeverSent("the connection was refused")
            case "at once":
                _outside(loop.call_soon, apply)
            case "slow":
                _outside(loop.call_later, self._fate.ms(400, 1.0, "takes"), apply)
            case "answer lost":
                _outside(loop.call_soon, partial(self._apply, None, name, args, options))
            case "late":
                after = REPLY_S + self._fate.among(int(LATE_S), "late by seconds")
                _outside(loop.call_later, after, partial(self._apply, None, name, args, options))
        timer = loop.call_later(REPLY_S, _give_up, reply)
        try:
            return await reply
        finally:
            timer.cancel()

    def _apply(self, reply: "asyncio.Future[Any] | None", name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        """On the server: whoever asked may be dead by now."""
        try:
            answer = self._server.do(name, *args, **options)
        except ValueError as error:
            if reply is not None and not reply.done():
                reply.set_exception(error)
        else:
            if reply is not None and not reply.done():
                reply.set_result(answer)

    async def reserve(
        self, organisation: str, lease: str, charges: Sequence[Charge], *, now_ms: int, ttl_ms: int, record: Record = EMPTY
    ) -> Admitted | Exhausted:
        answer: Admitted | Exhausted = await self._told(
            "reserve", organisation, lease, charges, now_ms=now_ms, ttl_ms=ttl_ms, record=record
        )
        return answer

    async def extend(
        self, organisation: str, lease: str, amounts: Spent, *, now_ms: int, ttl_ms: int
    ) -> Admitted | Exhausted | None:
        answer: Admitted | Exhausted | None = await self._told("extend", organisation, lease, amounts, now_ms=now_ms, ttl_ms=ttl_ms)
        return answer

    async def settle_many(self, organisation: str, closings: Sequence[Closing], *, now_ms: int) -> Sequence[Closed]:
        closed: Sequence[Closed] = await self._told("settle_many", organisation, closings, now_ms=now_ms)
        return closed

    async def read(self, organisation: str, charges: Sequence[Charge], *, now_ms: int) -> tuple[int, ...]:
        amounts: tuple[int, ...] = await self._told("read", organisation, charges, now_ms=now_ms)
        return amounts

    async def entries(self, organisation: str, *, after: str = "", limit: int = 1000) -> Sequence[Entry]:
        entries: Sequence[Entry] = await self._told("entries", organisation, after=after, limit=limit)
        return entries

    async def enrol(self, roster: str, id: str, value: bytes, *, revision: int = 0) -> int:
        revised: int = await self._told("enrol", roster, id, value, revision=revision)
        return revised

    async def listed(self, roster: str, id: str) -> Listed | None:
        found: Listed | None = await self._told("listed", roster, id)
        return found

    async def listed_since(self, roster: str, revision: int, *, limit: int = 1000) -> Sequence[Listed]:
        records: Sequence[Listed] = await self._told("listed_since", roster, revision, limit=limit)
        return records

    async def changes(self, roster: str, seen: Seen, *, limit: int = 1000) -> Changes:
        found: Changes = await self._told("changes", roster, seen, limit=limit)
        return found

    async def time_ms(self) -> int:
        now_ms: int = await self._told("time_ms")
        return now_ms

    async def ping(self) -> None:
        await self._told("ping")

    async def close(self) -> None:
        """Nothing is to be closed."""


def _give_up(reply: "asyncio.Future[Any]") -> None:
    if not reply.done():
        reply.set_exception(StoreUnavailable(f"no reply within {REPLY_S} s"))


def _outside(schedule: Callable[..., Any], *args: Any) -> None:
    """Schedules what happens outside the worker: it goes on when the worker is dead."""
    token = OWNER.set(None)
    try:
        schedule(*args)
    finally:
        OWNER.reset(token)
