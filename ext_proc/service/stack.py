"""Everything on one machine: a store, the service, and a real Envoy in front of the policy's upstreams.

`async with Stack(Path("policy.yaml")) as stack:` takes requests at stack.url; metrics are at stack.metrics_url, decisions in
stack.decisions_path.
"""

import asyncio
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.engine.policy.gateways import Gateway, beyond
from headrace.ext_proc.engine.policy.lines import MAX_BYTES, parse, read_bytes
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem, Where, spelled
from headrace.ext_proc.engine.policy.validation import validated
from headrace.ext_proc.envoy.config.bootstrap import render_bootstrap
from headrace.ext_proc.envoy.config.settings import Address, GatewaySettings
from headrace.ext_proc.envoy.process import EnvoyProcess
from headrace.ext_proc.envoy.transport import DEFAULT, Transport
from headrace.ext_proc.service.admin import Admin
from headrace.ext_proc.service.gateway import gateway_of
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.run import administered
from headrace.ext_proc.service.supervisor import Service
from headrace.ext_proc.stores.embedded import EmbeddedStore

LOOPBACK = "127.0.0.1"
EMBEDDED = "embedded"
ANY_PORT = Address(host=LOOPBACK, port=0)
NOT_YET = Address(path="/dev/null")
"""In place of the service's addresses, until it has started."""


class StackError(HeadraceError):
    """The stack cannot be put up; the message says why."""


@dataclass(frozen=True, slots=True)
class StackOptions:
    """port: Envoy's, 0 for a free one. concurrency: Envoy's worker threads. upstreams: name → URL instead of the policy's.

    decisions: the decision log; None for a file in the stack's own directory, which goes with it.
    """

    host: str = LOOPBACK
    port: int = 0
    workers: int = 1
    concurrency: int = 1
    store: str = EMBEDDED
    admin: Address | None = ANY_PORT
    upstreams: Mapping[str, str] | None = None
    decisions: str | None = None
    otlp: str = ""
    log_level: str = "info"
    drain_seconds: float = 5.0
    transport: Transport = DEFAULT


class Stack:
    """`async with` puts it up and takes it down: Envoy first, then the service with its settlements, then the store."""

    def __init__(self, policy: Path, options: StackOptions = StackOptions()) -> None:
        self.policy = policy
        self.options = options
        self.directory = Path()
        self.document: PolicyDocument
        self.service: Service
        self.envoy: EnvoyProcess
        self.store_url = ""
        self._admin: Admin | None = None
        self._port = 0
        self._exit = AsyncExitStack()

    @property
    def url(self) -> str:
        """Where applications send requests, `http://host:port`."""
        return f"http://{Address(host=self.options.host, port=self._port)}"

    @property
    def admin_url(self) -> str:
        """The service's admin interface. Raises StackError where it is off."""
        if self._admin is None:
            raise StackError("the admin interface is off")
        return self._admin.url

    @property
    def metrics_url(self) -> str:
        return f"{self.admin_url}/metrics"

    @property
    def decisions_path(self) -> Path:
        """The decision log."""
        return Path(self.options.decisions or self.directory / "decisions.jsonl")

    @property
    def service_log(self) -> Path:
        """What the workers wrote to standard error."""
        return self.directory / "service.log"

    async def __aenter__(self) -> Self:
        """Raises PolicyErrors, and StartError, EmbeddedError, EnvoyError or StackError for what cannot be started."""
        try:
            await self._start()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._exit.aclose()

    async def _start(self) -> None:
        gateway = self._gateway()
        self.directory = _directory()
        self._exit.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.store_url = await self._store()
        self.service = Service(self._service_options())
        self._admin = await self._exit.enter_async_context(administered(self.service))
        await self.service.start()
        self._exit.push_async_callback(self.service.stop, notice=False)  # Envoy is gone by then
        self.envoy = await self._exit.enter_async_context(self._envoy(gateway))
        self._port = await self.envoy.port()

    def _gateway(self) -> GatewaySettings:
        """All but the service's addresses. Raises PolicyErrors for a policy that cannot be read, StackError without upstreams."""
        self.document = read_document(self.policy)
        if not (self.options.upstreams or self.document.upstreams):
            raise StackError(f"{self.policy}: there are no upstreams to send requests to; add them under upstreams")
        listen = Address(host=self.options.host, port=self.options.port)
        try:
            return gateway_of(self.document, self.options.upstreams, service=(NOT_YET,), listen=listen)
        except ValidationError as error:
            said = "; ".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
            raise StackError(f"{self.policy}: upstreams: {said}") from None
        except ValueError as error:
            raise StackError(f"{self.policy}: upstreams: {error}") from None

    async def _store(self) -> str:
        if self.options.store != EMBEDDED:
            return self.options.store
        store = EmbeddedStore()
        url = await asyncio.to_thread(store.start)
        self._exit.push_async_callback(asyncio.to_thread, store.stop)
        return url

    def _service_options(self) -> Options:
        return Options(
            policy=self.policy,
            listen=Address(path=str(self.directory / "worker.sock")),
            store=self.store_url,
            workers=self.options.workers,
            admin=self.options.admin,
            decisions=str(self.decisions_path),
            otlp=self.options.otlp,
            log_level=self.options.log_level,
            drain_seconds=self.options.drain_seconds,
            log=self.service_log,
            transport=self.options.transport,
        )

    def _envoy(self, gateway: GatewaySettings) -> EnvoyProcess:
        folder = self.directory / "envoy"
        folder.mkdir(mode=0o700)
        service = tuple(Address.parse(address) for address in self.service.addresses)
        settings = gateway.model_copy(update={"service": service})
        return EnvoyProcess(render_bootstrap(settings), folder, concurrency=self.options.concurrency)


def _directory() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="headrace-"))
    except OSError as error:
        raise StackError(
            f"there is no place for temporary files: {error.strerror}; name one that can be written to as TMPDIR"
        ) from None


def read_document(path: Path, gateway: Gateway = Gateway.ENVOY) -> PolicyDocument:
    """The policy's document by itself: no filter is loaded. Raises PolicyErrors, also for what `gateway` cannot carry out."""
    problems: list[Problem] = []
    located = parse(read_bytes(path, MAX_BYTES), str(path))

    def report(where: Where, message: str) -> None:
        problems.append(Problem(str(path), located.line_of(where), spelled(where), message))

    document = validated(PolicyDocument, located.value, report)
    for where, message in beyond(document, gateway) if document else ():
        report(where, message)
    if document is None or problems:
        raise PolicyErrors(problems)
    return document
