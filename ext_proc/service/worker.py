"""One worker: everything of its process, wired together, from its settings to its end."""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import socket
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from headrace.ext_proc.audit.worker import Audits
from headrace.ext_proc.core.effects import Effect, Record
from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.ports import Clock, StoreUnavailable
from headrace.ext_proc.engine.candidate import CandidateRunner
from headrace.ext_proc.engine.clock import SharedClock
from headrace.ext_proc.engine.effects import EffectRunner, Observer
from headrace.ext_proc.engine.load.board import Board
from headrace.ext_proc.engine.load.scrape import Scraper
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.compile import IMPLIED, Policy, compile_policy
from headrace.ext_proc.engine.policy.destinations import targets_of
from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.policy.reload import Reloader
from headrace.ext_proc.engine.registry import METRICS_MS, Ports, Registry
from headrace.ext_proc.engine.warming import warm
from headrace.ext_proc.envoy.access_log import AccessLog
from headrace.ext_proc.envoy.attempt import Attempts
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.processor import Processor
from headrace.ext_proc.envoy.services import methods
from headrace.ext_proc.envoy.transport import Server, listen
from headrace.ext_proc.service.addresses import parse_address
from headrace.ext_proc.service.control import AskReport, Channel, Drain, Failed, PolicyState, Ready, Reload, Report, Settings
from headrace.ext_proc.service.draining import Draining
from headrace.ext_proc.service.standing_in import take_over
from headrace.ext_proc.stores import open_store
from headrace.ext_proc.stores.local import LocalAllowance
from headrace.ext_proc.telemetry import logs
from headrace.ext_proc.telemetry.alerts import Alerts
from headrace.ext_proc.telemetry.auditing import AuditMeters
from headrace.ext_proc.telemetry.certificates import certificate_samples
from headrace.ext_proc.telemetry.counting import Metrics
from headrace.ext_proc.telemetry.decisions import DecisionLog
from headrace.ext_proc.telemetry.measured_store import MeasuredStore
from headrace.ext_proc.telemetry.outages import Outages

if TYPE_CHECKING:
    from headrace.ext_proc.telemetry.tracing import Tracing

log = logging.getLogger(__name__)

ORPHANED = Drain(0.0, notice=False)
"""For a worker whose supervisor is gone: streams are cut, settlements carried out and records written."""
SETTLE_S = 5.0
"""For settlements when the service ends; then their leases stay as reserved."""


def exchange_id() -> str:
    """`hx` and 96 random bits in hexadecimal: unique over workers and restarts, and not to be guessed."""
    return "hx" + secrets.token_hex(12)


class Worker:
    """Everything of one process, wired together. Raises PolicyErrors, HeadraceError and ValueError (a store's URL) when built."""

    def __init__(self, settings: Settings, channel: Channel) -> None:
        self._drain_order: asyncio.Future[Drain] = asyncio.get_running_loop().create_future()
        self._reloading: asyncio.Task[None] | None = None  # a task that nobody refers to may vanish
        self._models: frozenset[str] = frozenset()
        self._loaded = "", 0  # the revision in force, and since when
        self._settings = settings
        self._channel = channel
        server = open_store(settings.store)
        self._clock = clock = SharedClock(lambda: measured.time_ms())
        self._metrics = Metrics(self._is_model, clock)
        measured = MeasuredStore(server, self._metrics.store, self._metrics.store_errors, Outages())
        self._store = LocalAllowance(measured)
        self._offload = ThreadOffload()
        board = Board(METRICS_MS)
        self._scraper = Scraper(board, clock)
        self._ports = Ports(self._store, clock, self._offload, board)
        compiler = partial(compiled, Path(settings.policy), Registry.installed(), self._ports, settings.gateway)
        self._reloader = Reloader(Path(settings.policy), compiler, self._reloaded)
        self._decisions = self._decision_log(clock)
        self._tracing = self._traces(clock)
        self._audits = Audits(str(settings.number), clock, AuditMeters(self._metrics))
        self._alerts = Alerts(lambda: self._policy().webhook, clock, self._metrics.alerts_dropped.add)
        self._effects = EffectRunner(self._store, clock, self._observers())
        self._candidates = CandidateRunner(self._policy, self._store, clock, self._observed)
        attempts = Attempts(lambda: self._policy().destinations)
        self._processor = Processor(self._policy, exchange_id, self._submit, clock.now_ms, attempts, self._candidates, self._audits)
        self._draining = Draining(self._processor)
        self._server = self._listen()
        self._audits.start(self._policy().audit, self._policy().revision)

    def _decision_log(self, clock: Clock) -> DecisionLog | None:
        target = self._settings.decisions
        return DecisionLog(target, clock, self._metrics.decisions_dropped.add) if target else None

    def _traces(self, clock: Clock) -> "Tracing | None":
        if not self._settings.otlp:
            return None
        from headrace.ext_proc.telemetry.tracing import Tracing  # 10 MB that most installations do without

        return Tracing.to_collector(self._settings.otlp, clock)

    def _observers(self) -> Sequence[Observer]:
        ports = self._ports
        told = (self._metrics, self._alerts, ports.latency, ports.ratios, ports.load, self._audits)
        observers: list[Observer] = [one.observe for one in told]
        if self._decisions is not None:
            observers.append(self._decisions.write)
        if self._tracing is not None:
            observers.append(self._tracing.observe)
        return observers

    def _observed(self, record: Record) -> None:
        """What the candidate would have done: for the metrics and the decision log."""
        self._metrics.observe(record)
        if self._decisions is not None:
            self._decisions.write(record)

    def _submit(self, effects: Sequence[Effect]) -> None:
        self._effects.submit(effects)
        self._candidates.settled(effects)

    def _policy(self) -> Policy:
        return self._reloader.holder.current

    def _is_model(self, name: str) -> bool:
        return name in self._models

    def _listen(self) -> Server:
        """Raises ListenError."""
        health = Health(self._draining.ready)
        mask = os.umask(0o777 & ~self._settings.socket_mode)
        try:
            served = methods(self._processor, AccessLog(self._submit), health)
            take_over(parse_address(self._settings.listen))
            return listen(self._settings.transport, served, self._settings.listen, self._settings.tls)
        finally:
            os.umask(mask)

    async def run(self) -> None:
        """Serves until it is told to drain and has drained, or until its supervisor is gone."""
        with contextlib.suppress(StoreUnavailable):
            await self._clock.look()
        await self._server.start()
        self._tell_policy()
        self._channel.send(Ready(self._address()))
        gc.collect()
        gc.set_threshold(20_000, 10, 100)  # a request makes hundreds of objects and no cycles: look for those seldom
        gc.freeze()  # a full collection over the 190,000 objects that start-up made would stop everything for 50 ms
        beside = [asyncio.create_task(task) for task in (self._reloader.run(), self._scraper.run(), self._clock.follow())]
        if self._server.certificate is not None:
            beside.append(asyncio.create_task(self._server.certificate.follow()))
        await self._until_over()
        for task in beside:
            task.cancel()

    def _address(self) -> str:
        given = parse_address(self._settings.listen)
        return str(given if given.path else given.model_copy(update={"port": self._server.port}))

    async def _until_over(self) -> None:
        """Returns when the worker has drained. Without a supervisor it serves nobody any more, but pays what it owes."""
        loop = asyncio.get_running_loop()
        obeying, leaving = loop.create_task(self._obey()), loop.create_task(self._leave())
        await asyncio.wait({obeying, leaving}, return_when=asyncio.FIRST_COMPLETED)
        obeying.cancel()
        if not self._drain_order.done():
            self._drain_order.set_result(ORPHANED)
        elif not leaving.done():  # nobody waits for the streams that were to go on
            await self._server.stop(ORPHANED.seconds)
        await leaving

    async def _obey(self) -> None:
        """Follows orders until the supervisor is gone; also while the worker drains, or it would seem to hang."""
        async for order in self._channel.orders():
            match order:
                case Drain():
                    self._told_to_drain(order)
                case Reload():
                    self._reloading = asyncio.create_task(self._reload())
                case AskReport():
                    self._report()
                case Settings():
                    log.error("settings came twice")
                case _:
                    assert_never(order)

    def _told_to_drain(self, order: Drain) -> None:
        if not self._drain_order.done():
            self._drain_order.set_result(order)

    async def _leave(self) -> None:
        await self._drain(await self._drain_order)

    async def _reload(self) -> None:
        if self._decisions is not None:
            self._decisions.reopen()
        if self._server.certificate is not None:
            self._server.certificate.look()
        await self._reloader.look()

    def _report(self) -> None:
        self._metrics.effects_waiting.set(self._effects.depth)
        self._metrics.active_streams.set(self._processor.active)
        self._metrics.offload_waiting.set(self._offload.pending)
        self._metrics.audit_waiting.set(self._audits.depth)
        servers = self._ports.load.heard(self._clock.now_ms())
        certified = certificate_samples(self._server.certificate, str(self._settings.number))
        self._channel.send(Report((*self._metrics.samples(), *certified), servers))

    def _reloaded(self, outcome: Policy | PolicyErrors) -> None:
        if isinstance(outcome, PolicyErrors):
            self._metrics.reload_failures.add()
            log.error("policy refused, the last good one stays in force", extra={"problems": list(map(str, outcome.problems))})
        else:
            log.info("policy in force", extra={"revision": outcome.revision})
            self._audits.follow(outcome.audit, outcome.revision)
        self._tell_policy()

    def _tell_policy(self) -> None:
        holder = self._reloader.holder
        self._models = frozenset(model.name for model in holder.current.catalogue)
        listed = (name for entry in holder.current.document.filters for name in entry)
        self._metrics.policy(holder.current.revision, {*listed, IMPLIED})
        self._scraper.follow(targets_of(holder.current.document))
        problems = tuple(map(str, holder.problems))
        files = tuple(map(str, sorted(holder.current.files)))
        audit = str(holder.current.audit.directory) if holder.current.audit else ""
        if holder.current.revision != self._loaded[0]:
            self._loaded = holder.current.revision, self._clock.now_ms()
        self._channel.send(PolicyState(*self._loaded, problems, files, audit, holder.current.needs_store))

    async def _drain(self, order: Drain) -> None:
        await self._draining.run(self._server, order)
        await self._effects.drain(SETTLE_S)
        await self._candidates.drain(SETTLE_S)
        await self._audits.close()
        await self._alerts.close()
        if self._decisions is not None:
            await self._decisions.close()
        if self._tracing is not None:
            await self._tracing.close()
        await self._store.close()
        self._offload.close()
        self._report()
        await self._channel.flush()


def compiled(path: Path, registry: Registry, ports: Ports, gateway: Gateway = Gateway.ENVOY) -> Policy:
    """The policy as its files are now, ready for its first request. Raises PolicyErrors."""
    return warm(compile_policy(path, registry, ports, gateway), ports.offload)


async def serve(end: socket.socket) -> int:
    """A worker's life; its exit status."""
    channel = await Channel.open(end)
    settings = await anext(aiter(channel.orders()))
    assert isinstance(settings, Settings), "the first order is what to do"
    logs.configure(settings.log_level, worker=settings.number)
    os.environ.update(settings.environment)
    try:
        worker = Worker(settings, channel)
    except PolicyErrors as errors:
        return await _fail(channel, list(map(str, errors.problems)))
    except (HeadraceError, ValueError) as error:
        return await _fail(channel, [f"worker {settings.number} cannot start: {error}"])
    await worker.run()
    channel.close()
    return 0


async def _fail(channel: Channel, lines: list[str]) -> int:
    channel.send(Failed(lines))
    await channel.flush()
    channel.close()
    return 1
