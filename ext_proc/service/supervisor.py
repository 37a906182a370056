"""The service: its workers, each a process with a socket of its own, and the admin interface."""

import asyncio
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from secrets import token_hex
from types import TracebackType
from typing import Self

from headrace.ext_proc.core.ports import Store, StoreUnavailable
from headrace.ext_proc.engine.clock import SharedClock
from headrace.ext_proc.envoy.transport import Transport
from headrace.ext_proc.service.addresses import parse_address, worker_addresses
from headrace.ext_proc.service.control import Drain, Reload, Settings
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.slot import Slot, StartError
from headrace.ext_proc.service.standing_in import stand_in
from headrace.ext_proc.service.starting import Starter
from headrace.ext_proc.service.store_check import check, warn_of_eviction
from headrace.ext_proc.stores import open_store
from headrace.ext_proc.telemetry import metrics
from headrace.ext_proc.telemetry.exposition import Key, Totals
from headrace.ext_proc.telemetry.samples import Sample

log = logging.getLogger(__name__)


class Service:
    """`async with Service(options) as service:` runs the workers; they end, drained, when the block ends."""

    def __init__(self, options: Options, starter: Starter | None = None) -> None:
        """starter: one of the same policy that has begun already. Raises ValueError for an address or a store URL that is none."""
        self.options = options
        self.leaving = False
        self.store: Store = open_store(options.store)
        self.clock = SharedClock(self.store.time_ms)
        self._beside: list[asyncio.Task[None]] = []
        self.starter = starter or Starter(options.policy, options.gateway, options.transport, options.log)
        self._totals = Totals()
        self.slots = [Slot(settings, self._totals, self.starter, self._stand_in) for settings in _settings(options)]

    @property
    def addresses(self) -> Sequence[str]:
        """Where the workers listen."""
        return [slot.address for slot in self.slots]

    async def start(self) -> None:
        """Returns when every worker is ready. Raises StartError with every reason, and leaves nothing running then."""
        try:
            self.starter.begin()
            await self._look_at_store()
            outcomes = await asyncio.gather(*(slot.start() for slot in self.slots), return_exceptions=True)
            _raise_first(outcomes)
            self._beside = [asyncio.create_task(task) for task in (self.clock.follow(), warn_of_eviction(self.store))]
        except BaseException:
            await self.kill()
            raise

    async def stop(self, seconds: float | None = None, *, notice: bool = True) -> None:
        """Drains every worker, `seconds` (else as the options say) at most, and ends. notice: False when the proxy has gone."""
        self.leaving = True
        limit = self.options.drain_seconds if seconds is None else seconds
        await asyncio.gather(*(slot.stop(Drain(limit, notice)) for slot in self.slots))
        await self._close()

    async def kill(self) -> None:
        """Ends every worker at once."""
        self.leaving = True
        await asyncio.gather(*(slot.kill() for slot in self.slots))
        await self._close()

    def reload(self) -> None:
        """Every worker looks at the policy's files and opens the decision log anew."""
        for slot in self.slots:
            slot.send(Reload())

    async def metrics(self, accept: str = "", more: Iterable[Sample] = ()) -> tuple[bytes, str]:
        """The exposition of all workers together and of `more`, and its content type. accept: the HTTP header."""
        await asyncio.gather(*(slot.report() for slot in self.slots))
        return self._totals.text([*(slot.samples for slot in self.slots), self._own(), more], accept)

    def succeed(self) -> None:
        """A service of the same options drains: its sockets are taken over before it leaves them, and nobody is refused between."""
        if self.options.transport is Transport.H2:  # grpcio unlinks the path when it leaves, whoever's socket is there by then
            for slot in self.slots:
                slot.stood_in = parse_address(slot.settings.listen).path is not None

    def _stand_in(self) -> None:
        """Where a worker has ended, one that is ready takes its place until there is another."""
        ready = [slot for slot in self.slots if slot.ready]
        for slot in self.slots:
            if slot.vacant and not self.leaving:
                slot.stood_in = bool(ready) and stand_in(parse_address(slot.address), parse_address(ready[0].address))

    def counts(self) -> Mapping[Key, float]:
        """What all workers have counted, by sample; a few seconds old, because nobody is asked."""
        return self._totals.sums(slot.samples for slot in self.slots)

    def _own(self) -> Iterator[Sample]:
        """Of a worker that has drained there is none that says that it does not serve: that one is no fault."""
        for slot in self.slots:
            labels = [("worker", str(slot.settings.number))]
            if slot.ready or not self.leaving:
                yield Sample(metrics.WORKERS_READY.name, labels, float(slot.ready))
            yield Sample(metrics.POLICY_REFUSED.name, labels, float(slot.refuses))
            yield Sample(f"{metrics.WORKER_RESTARTS.name}_total", labels, float(slot.restarts))

    async def _look_at_store(self) -> None:
        if self.options.workers > 1 and self.options.store.startswith("memory:"):
            raise StartError(["a store in memory is one worker's own; give the URL of a server that all can reach"])
        await check(self.store)
        with suppress(StoreUnavailable):
            await self.clock.look()

    async def _close(self) -> None:
        for task in self._beside:
            task.cancel()
        await asyncio.gather(*self._beside, return_exceptions=True)
        await self.store.close()
        self.starter.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()


def _settings(options: Options) -> Sequence[Settings]:
    # Placeholders are the same whichever worker makes them, and for as long as the service runs; the filter's page has more.
    shared = {} if "HEADRACE_PII_KEY" in os.environ else {"HEADRACE_PII_KEY": token_hex(32)}
    return [
        Settings(
            number=number,
            policy=str(options.policy),
            listen=str(address),
            store=options.store,
            decisions=options.decisions,
            otlp=options.otlp,
            log_level=options.log_level,
            socket_mode=options.socket_mode,
            transport=options.transport,
            tls=options.tls,
            gateway=options.gateway,
            environment=shared,
        )
        for number, address in enumerate(worker_addresses(options.listen, options.workers))
    ]


def _raise_first(outcomes: Sequence[BaseException | None]) -> None:
    """One StartError with every line once; anything else as it is."""
    failed = [outcome for outcome in outcomes if outcome is not None]
    if others := [error for error in failed if not isinstance(error, StartError)]:
        raise others[0]
    lines = dict.fromkeys(line for error in failed if isinstance(error, StartError) for line in error.lines)
    if lines:
        raise StartError(list(lines))
