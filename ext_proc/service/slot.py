"""One worker's place: its process, started again whenever it ends."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import assert_never

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.engine.load.board import Heard
from headrace.ext_proc.service.addresses import AddressError, AddressTaken, make_free, parse_address
from headrace.ext_proc.service.control import AskReport, Channel, Drain, Failed, Notice, Order, PolicyState, Ready, Report, Settings
from headrace.ext_proc.service.starting import Process, Starter
from headrace.ext_proc.telemetry.exposition import Totals
from headrace.ext_proc.telemetry.samples import Sample

log = logging.getLogger(__name__)

START_S = 60.0
"""Seconds until ready. Loading a tokenizer and the PII patterns takes about two; a busy machine is given thirty times that."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 10.0
"""Between two starts; doubled each time, and back to the first once a worker has lived for STEADY_S."""
STEADY_S = 30.0
CHECK_S = 5.0
"""How old the counts may be that a worker takes with it when it is killed."""
SILENT_S = 30.0
"""A worker that has not answered for so long hangs. Loading a policy is no reason: that is done on a thread."""
REPORT_S = 1.0
TAKEN_S = 5.0
"""For a worker of a killed supervisor to leave the address: it notices at once, and a busy machine makes seconds of that."""
LOOK_S = 0.05
END_S = 5.0
"""For a process whose channel has ended to end, too."""


class StartError(HeadraceError):
    """The service cannot start; `lines` say why."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Slot:
    """Runs one worker at a time. `settings` are the same for each. totals: takes the counts of workers that have ended.

    failed: why the last worker could not start; empty once one could. samples: what the worker has counted, CHECK_S old at most.
    servers: what it heard of the servers that it chooses among, as old.
    vacant: a worker was ready here, and none is now; told is called when it becomes so. stood_in: who answers at this one's
    address, another slot's worker or a service that drains, leaves it to the one that comes.
    """

    def __init__(self, settings: Settings, totals: Totals, starter: Starter, told: Callable[[], None]) -> None:
        self.settings = settings
        self.address = settings.listen
        self.policy: PolicyState | None = None
        self.failed: Sequence[str] = ()
        self.ready = False
        self.vacant = self.stood_in = False
        self.restarts = 0
        self.samples: Sequence[Sample] = ()
        self.servers: Mapping[str, Heard | None] = {}
        self._totals = totals
        self._told = told
        self._reported: asyncio.Future[None] | None = None
        self._starter = starter
        self._process: Process | None = None
        self._channel: Channel | None = None
        self._leaving = False
        self._heard = 0.0
        self._first: asyncio.Future[None] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def refuses(self) -> bool:
        """Whether the policy's files hold what the worker does not go by."""
        return self.policy is not None and bool(self.policy.problems)

    async def start(self) -> None:
        """Returns when the first worker is ready. Raises StartError when it ends before."""
        self._first = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep(), name=f"worker {self.settings.number}")
        try:
            async with asyncio.timeout(START_S):
                await self._first
        except TimeoutError:
            raise StartError([f"worker {self.settings.number} was not ready within {START_S:g} s"]) from None

    def send(self, order: Order) -> None:
        """Lost while no worker runs: the next one reads the files as they are then."""
        if self._channel is not None:
            self._channel.send(order)

    async def report(self) -> None:
        """Brings `samples` up to date. Returns when the worker has answered, or after REPORT_S: then they are a few seconds old."""
        if not self.ready:
            return
        self._reported = self._reported or asyncio.get_running_loop().create_future()
        self.send(AskReport())
        await asyncio.wait([self._reported], timeout=REPORT_S)
        self._reported = None

    async def stop(self, drain: Drain) -> None:
        """Drains the worker and returns when it has ended."""
        self._leaving = True
        self.send(drain)
        await self._ended()

    async def kill(self) -> None:
        """Ends the worker at once."""
        self._leaving = True
        self._signal(signal.SIGKILL)
        await self._ended()

    async def _ended(self) -> None:
        if self._keeper is None:
            return
        if self._process is None:  # between two workers
            self._keeper.cancel()
        await asyncio.wait([self._keeper])

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            started = monotonic()
            why = await self._life()
            if self._leaving or (self._first is not None and not self._first.done()):
                self._settle_start(why)
                return
            pause = FIRST_PAUSE_S if monotonic() - started > STEADY_S else pause
            log.error("worker ended, starting another", extra={"worker": self.settings.number, "why": why, "pause_s": pause})
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_S)
            self.restarts += 1

    def _settle_start(self, why: Sequence[str]) -> None:
        if self._first is not None and not self._first.done():
            self._first.set_exception(StartError(why))

    async def _life(self) -> Sequence[str]:
        """One worker, from its start to its end; why it ended."""
        try:
            await self._make_free()
            notices = await self._spawn()
        except (AddressError, OSError) as error:
            return [str(error)]
        watch = asyncio.create_task(self._watch())
        failure = await notices
        self._leave()
        watch.cancel()
        status = await self._reap()
        return failure or [f"worker {self.settings.number} ended with status {status}"]

    async def _make_free(self) -> None:
        """Waits for whoever is about to leave the address. Raises AddressError."""
        until = monotonic() + TAKEN_S
        while True:
            try:
                return make_free(parse_address(self.settings.listen), self.settings.socket_mode)
            except AddressTaken:
                if self.stood_in:
                    return None
                if monotonic() >= until:
                    raise
            await asyncio.sleep(LOOK_S)

    async def _spawn(self) -> "asyncio.Task[Sequence[str]]":
        ours, theirs = socket.socketpair()
        with theirs:
            channel = await Channel.open(ours)
            try:
                self._process = await self._starter.start(theirs)
            except BaseException:
                channel.close()
                raise
        self._channel = channel  # at once: whoever finds a process must be able to tell it to drain
        channel.send(self.settings)
        return asyncio.create_task(self._listen(channel))

    async def _watch(self) -> None:
        """Asks the worker for its report now and then, and ends one that has not said anything for too long: it hangs."""
        self._heard = monotonic()
        while True:
            await asyncio.sleep(CHECK_S)
            self.send(AskReport())
            if self.ready and monotonic() - self._heard > SILENT_S:
                log.error("worker hangs, ending it", extra={"worker": self.settings.number, "pid": self.pid})
                self._signal(signal.SIGKILL)

    async def _listen(self, channel: Channel) -> Sequence[str]:
        failure: Sequence[str] = ()
        async for notice in channel.notices():
            self._heard = monotonic()
            if isinstance(notice, Failed):
                failure = notice.lines
            self._take(notice)
        return failure

    def _take(self, notice: Notice) -> None:
        match notice:
            case Ready():
                self.address, self.ready, self.failed = notice.address, True, ()
                self.vacant = self.stood_in = False
                log.info("worker ready", extra={"worker": self.settings.number, "address": notice.address, "pid": self.pid})
                if self._first is not None and not self._first.done():
                    self._first.set_result(None)
            case PolicyState():
                self.policy = notice
                self._starter.follow(notice.revision)
            case Report():
                self.samples, self.servers = notice.samples, notice.servers
                if self._reported is not None and not self._reported.done():
                    self._reported.set_result(None)
            case Failed():
                self.failed = notice.lines
            case _:
                assert_never(notice)

    def _leave(self) -> None:
        """The worker's channel has ended, and so has the worker, or it is about to."""
        self.vacant = self.vacant or self.ready
        self.ready = False
        if self.vacant:
            self._told()

    async def _reap(self) -> int:
        """The exit status of the process, which has closed its channel."""
        self._totals.ended(self.samples)
        self.samples, self.servers, self.policy = (), {}, None
        process, channel = self._process, self._channel
        assert process is not None and channel is not None
        channel.close()
        try:
            await asyncio.wait_for(process.wait(), END_S)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await process.wait()
        self._process = self._channel = None
        return process.returncode if process.returncode is not None else -1
