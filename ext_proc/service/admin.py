"""The admin interface: health, readiness, metrics and the policy in force, for probes and for people; the admin API; the
console.

What is for probes has no access control and changes nothing. The API and the console have tokens, and are served on this machine
alone, or over TLS.
"""

import asyncio
import contextlib
import errno
import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from headrace.ext_proc.admin.app import PREFIX, api, no_api
from headrace.ext_proc.admin.below import Below
from headrace.ext_proc.admin.console import frame as console
from headrace.ext_proc.admin.console.app import no_console
from headrace.ext_proc.admin.operation import Site
from headrace.ext_proc.audit.deeds import Deeds
from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.engine.imports import deferred
from headrace.ext_proc.envoy.certificate import Certificate
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.transport import Tls
from headrace.ext_proc.service.console import ConsoleOf
from headrace.ext_proc.service.control import PolicyState
from headrace.ext_proc.service.healthy import readiness
from headrace.ext_proc.service.supervisor import Service
from headrace.ext_proc.telemetry.certificates import certificate_samples
from headrace.ext_proc.telemetry.samples import Sample

with deferred("uvicorn.main"):  # its command line, and what reloads programs
    from uvicorn.config import Config
    from uvicorn.server import Server

    from headrace.ext_proc.service.connections import Connection

log = logging.getLogger(__name__)

NO_API = (
    "The admin API and the console are served on a loopback address, or over TLS: "
    "start the service with --admin-tls-cert and --admin-tls-key."
)


AGAIN_S = 0.2
"""Between two looks whether a service that drains has left the address."""


class AdminError(HeadraceError):
    """The admin interface cannot listen."""


class _Server(Server):
    """uvicorn without its signal handlers: the signals are the service's."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Admin:
    """Serves `service` at `address` (host:port; port 0 takes a free one)."""

    def __init__(self, service: Service, address: Address) -> None:
        self._service, self._address, self._tls = service, address, service.options.admin_tls
        self._private = self._tls is not None or _is_loopback(address)
        clock = service.clock
        self._deeds = Deeds(service.options.policy, clock.now_ms)
        site = Site(service.store, service.options.policy, lambda: datetime.fromtimestamp(clock.now_ms() / 1000, UTC), self._deeds)
        self._console = ConsoleOf(service, site) if self._private else None
        offered = api(site) if self._private else no_api(NO_API)
        self._answers = _Answers(service, offered, self._console, self._certified)
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._certificate: Certificate | None = None
        self._following: asyncio.Task[None] | None = None
        self._waiting: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """`http://host:port`, or https. Only after start()."""
        host, port = self._socket.getsockname()[:2] if self._socket else (self._address.host, self._address.port)
        scheme = "https" if self._tls else "http"
        return f"{scheme}://[{host}]:{port}" if ":" in str(host) else f"{scheme}://{host}:{port}"

    async def start(self) -> None:
        """Raises AdminError when the address cannot be listened on, or the certificate not used.

        A service that drains keeps its own to the end, for its metrics: this one takes the address then, and serves meanwhile.
        """
        config = self._config()
        try:
            self._socket = _listening(self._address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and await self._is_being_left():
                log.warning("a service that drains has the admin address until it ends", extra={"address": str(self._address)})
                self._service.succeed()
                self._waiting = asyncio.create_task(self._succeed(config), name="admin address")
                return
            why = (os.strerror(error.errno) if error.errno else str(error)).lower()
            raise AdminError(f"the admin interface cannot listen on {self._address}: {why}; choose another, or off") from None
        self._open(config, self._socket)

    async def _is_being_left(self) -> bool:
        said = await asyncio.to_thread(readiness, str(self._address), tls=self._tls is not None)
        return said.get("draining") is True

    async def _succeed(self, config: Config) -> None:
        while self._socket is None:
            await asyncio.sleep(AGAIN_S)
            with contextlib.suppress(OSError):
                self._socket = _listening(self._address)
        log.info("the admin interface is there", extra={"admin": self.url})
        self._open(config, self._socket)

    def _open(self, config: Config, listening: socket.socket) -> None:
        if not self._private:
            log.warning("the admin API is off", extra={"address": str(self._address), "detail": NO_API})
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve(sockets=[listening]), name="admin")
        if self._certificate is not None:
            self._following = asyncio.create_task(self._certificate.follow(), name="certificate")
        if self._console is not None:
            self._console.start()

    def _certified(self) -> Iterator[Sample]:
        return certificate_samples(self._certificate, "admin")

    def _config(self) -> Config:
        """Raises AdminError."""
        config = Config(self._answers.app(), http=Connection, lifespan="off", log_config=None, access_log=False,
                        server_header=False, timeout_graceful_shutdown=1)  # fmt: skip
        config.load()
        if self._tls is not None:
            self._certificate = _certificate(self._tls)
            config.ssl = self._certificate.context
        return config

    async def stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
        if self._following is not None:
            self._following.cancel()
        if self._task is not None:
            self._server.should_exit = True
            await self._task
        if self._console is not None:
            await self._console.stop()
        await self._deeds.close()


def _listening(address: Address) -> socket.socket:
    """`[::]` takes IPv4, too, as the workers' --listen does. Raises OSError."""
    at = (address.host or "", address.port)
    if ":" not in str(address.host):
        return socket.create_server(at)
    return socket.create_server(at, family=socket.AF_INET6, dualstack_ipv6=socket.has_dualstack_ipv6())


def _certificate(tls: Tls) -> Certificate:
    """Raises AdminError."""

    def made() -> ssl.SSLContext:
        context = tls.context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    try:
        return Certificate(tls, made)
    except OSError as error:  # an SSLError is one
        raise AdminError(f"the admin interface cannot use its certificate: {error.strerror or error}") from None


def _is_loopback(address: Address) -> bool:
    if address.host == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.host or "").is_loopback
    except ValueError:
        return False


class _Answers:
    def __init__(self, service: Service, api: ASGIApp, console: ConsoleOf | None, own: Callable[[], Iterable[Sample]]) -> None:
        """own: the samples of the admin interface itself."""
        self._service, self._api, self._own = service, api, own
        self._pages = console.app if console else no_console(NO_API)

    def app(self) -> Starlette:
        probes = {"/healthz": self.healthz, "/readyz": self.readyz, "/metrics": self.metrics, "/policy": self.policy}
        begin = Route(console.PREFIX, self.console)
        mounted = [Below(PREFIX, self._api), begin, Below(console.PREFIX, self._pages)]
        app = Starlette(routes=[*(Route(path, answer) for path, answer in probes.items()), *mounted])
        app.router.redirect_slashes = False  # to wherever the Host header says, with a token perhaps
        return app

    async def console(self, _: Request) -> Response:
        """Its address as people type it."""
        return RedirectResponse(f"{console.PREFIX}/")

    async def healthz(self, _: Request) -> Response:
        """The process lives."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """200 when every worker serves and the store answers, or can be done without; else 503. The body says what does not."""
        workers = {str(slot.settings.number): slot.ready for slot in self._service.slots}
        store = await self._store()
        needed = any(slot.policy.needs_store for slot in self._service.slots if slot.policy)
        ready = all(workers.values()) and not (store and needed) and not self._service.leaving
        body: dict[str, Any] = {"ready": ready, "workers": workers, "store": store or "ok", "store_needed": needed}
        body["draining"] = self._service.leaving
        return JSONResponse(body, 200 if ready else 503)

    async def _store(self) -> str:
        """What is wrong with the store; empty when nothing is."""
        try:
            await self._service.store.ping()
        except StoreUnavailable as error:
            return str(error)
        return ""

    async def metrics(self, request: Request) -> Response:
        """Prometheus's text format, or OpenMetrics where it is asked for."""
        body, content_type = await self._service.metrics(request.headers.get("accept", ""), self._own())
        return Response(body, headers={"content-type": content_type})

    async def policy(self, _: Request) -> Response:
        """What each worker has in force, and what was wrong with the policy that was offered last."""
        workers = {str(slot.settings.number): _policy(slot.policy) for slot in self._service.slots}
        states = [slot.policy for slot in self._service.slots if slot.policy]
        revisions = sorted({state.revision for state in states})
        offered = [problem for state in states for problem in state.problems]
        problems = list(dict.fromkeys([*offered, *(line for slot in self._service.slots for line in slot.failed)]))
        body = {"file": str(self._service.options.policy), "revisions": revisions, "problems": problems, "workers": workers}
        return JSONResponse(body)


def _policy(state: PolicyState | None) -> dict[str, Any] | None:
    if state is None:
        return None
    loaded = datetime.fromtimestamp(state.loaded_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {"revision": state.revision, "loaded_at": loaded, "problems": list(state.problems)}
