"""How a worker's process is started: forked from a process that has loaded what workers need, or else spawned."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import IO, Protocol

from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.envoy.transport import Transport
from headrace.ext_proc.service.forking import ForkServerProcess, can_fork

log = logging.getLogger(__name__)

FORK_S = 30.0
"""Seconds for a fork server to load everything and to fork: a second, or two; the first worker waits for it."""
STATUS_S = 1.0
"""For the status of a worker that has ended. It is for the log."""
LONGEST = 256
"""Bytes of what a fork server says."""
UNKNOWN = -1
"""The status of a worker whose fork server ended before it."""


class Process(Protocol):
    """What a slot knows of its worker's process; `asyncio.subprocess.Process` is one."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def send_signal(self, signal: int, /) -> None: ...

    async def wait(self) -> int: ...


class CannotFork(Exception):
    """The message says why."""


class Starter:
    """Starts the workers of one policy file. log: where their standard error goes; None for the supervisor's own.

    grpcio's library has threads, which a fork would not copy: its workers are spawned, and so are all where a process has no
    descriptor (pidfd_open(2) is Linux's). begun: a fork server that is there already, to be used and ended with the others.
    """

    def __init__(
        self, policy: Path, gateway: Gateway, transport: Transport, log: Path | None = None, begun: ForkServerProcess | None = None
    ) -> None:
        self._policy = policy
        self._gateway = gateway
        self._stderr: IO[bytes] | None = log.open("ab") if log else None
        self._forks = transport is Transport.H2 and can_fork()
        self._server = begun
        self._prepares = False
        self._watching: asyncio.AbstractEventLoop | None = None
        self._revision = ""

    @property
    def pid(self) -> int | None:
        """The fork server's, once there is one."""
        return self._server.pid if self._server is not None else None

    def begin(self) -> None:
        """Has a fork server make ready what workers need, where they are forked. Does not wait for it."""
        if not self._forks:
            return self._drop()
        try:
            self._ready()
        except OSError as error:
            log.warning("no fork server can begin", extra={"why": str(error)})

    def _ready(self) -> ForkServerProcess:
        """A fork server that was told of the policy. Raises OSError."""
        if self._server is not None and self._server.has_ended:
            self._drop()
        if self._server is None:
            self._server = ForkServerProcess(self._stderr.fileno() if self._stderr is not None else None)
        if not self._prepares:
            self._server.prepare(self._policy, self._gateway.value)
            self._prepares = True
        return self._server

    async def start(self, end: socket.socket) -> Process:
        """A worker; end: the worker's of its channel. Raises OSError."""
        if self._forks:
            server = None
            try:
                server = self._ready()
                async with asyncio.timeout(FORK_S):
                    return await self._fork(server, end)
            except (CannotFork, TimeoutError, OSError) as error:
                log.warning("no worker can be forked, spawning one", extra={"why": str(error) or type(error).__name__})
                if server in (None, self._server):  # else another has begun since
                    self._drop()
        return await self._spawn(end)

    def follow(self, revision: str) -> None:
        """A worker has this policy now. The next worker may need what the one before did not."""
        if self._server is not None and self._revision not in ("", revision):
            try:
                self._server.prepare(self._policy, self._gateway.value)
            except OSError as error:
                log.info("the fork server is not told of a policy", extra={"why": str(error)})
        self._revision = revision

    def close(self) -> None:
        """Ends the fork server; the workers live on. May be called again."""
        self._drop()
        if self._stderr is not None:
            self._stderr.close()

    def _drop(self) -> None:
        if self._server is None:
            return
        if self._watching is not None and not self._watching.is_closed():
            self._watching.remove_reader(self._server.orders)
        self._server.close()
        self._server = self._watching = None
        self._prepares = False

    async def _fork(self, server: ForkServerProcess, end: socket.socket) -> Process:
        """Raises CannotFork, OSError."""
        told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        told.setblocking(False)
        try:
            with theirs:
                server.fork(end, theirs)
            await _readable(told)
            said, descriptors, _, _ = socket.recv_fds(told, LONGEST, 1, socket.MSG_CMSG_CLOEXEC)
        except BaseException:
            told.close()
            raise
        if not descriptors:
            told.close()
            raise CannotFork(said.decode() or "the fork server ended")
        self._watch(server)
        return Forked(int(said), descriptors[0], told)

    def _watch(self, server: ForkServerProcess) -> None:
        """Where one dies that could fork, the next worker finds another. One that never could is left to whoever wants a worker."""
        if server is self._server and self._watching is None:
            self._watching = asyncio.get_running_loop()
            self._watching.add_reader(server.orders, self._ended)

    def _ended(self) -> None:
        log.warning("the fork server ended, beginning another")
        self._drop()
        self.begin()

    async def _spawn(self, end: socket.socket) -> Process:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "headrace.ext_proc.service.worker_process", str(end.fileno()),
            pass_fds=[end.fileno()], stdin=asyncio.subprocess.DEVNULL, stderr=self._stderr,
            start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor, which drains its workers
        )  # fmt: skip


class Forked:
    """A process that is another one's child. descriptor: of it, pidfd_open(2); told: where its parent will say its exit status."""

    def __init__(self, pid: int, descriptor: int, told: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._descriptor = descriptor
        self._told = told

    def send_signal(self, number: int, /) -> None:
        """Raises ProcessLookupError when it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        signal.pidfd_send_signal(self._descriptor, number)

    async def wait(self) -> int:
        """The exit status, or UNKNOWN."""
        if self.returncode is None:
            await _readable(self._descriptor)
            self.returncode = await self._status()
            self._leave_nothing()
        return self.returncode

    def _leave_nothing(self) -> None:
        with contextlib.suppress(ChildProcessError):  # it is ours where its parent is gone and we are a container's first process
            os.waitid(os.P_PIDFD, self._descriptor, os.WEXITED | os.WNOHANG)
        os.close(self._descriptor)
        self._told.close()

    async def _status(self) -> int:
        try:
            async with asyncio.timeout(STATUS_S):
                await _readable(self._told)
            return int(self._told.recv(LONGEST) or UNKNOWN)
        except (TimeoutError, OSError):
            return UNKNOWN


async def _readable(descriptor: int | socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(descriptor, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(descriptor)
