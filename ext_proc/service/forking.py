"""A fork server as whoever gives it orders has it: a process, and the end of the socket on which it takes them.

`headrace serve` begins one before it imports anything else, so that this module imports next to nothing.
"""

import os
import socket
import subprocess
import sys

from headrace.ext_proc.service.orders import FORK, preparing

PROGRAM = "headrace.ext_proc.service.fork_server"


class ForkServerProcess:
    """Loads workers' modules as soon as it begins. orders: readable once it has ended, and never before."""

    def __init__(self, stderr: int | None = None) -> None:
        """stderr: a descriptor for its standard error, and its workers'; None for this process's own. Raises OSError."""
        self.orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.orders.setblocking(False)
        try:
            with theirs:
                self._process = subprocess.Popen(
                    (sys.executable, "-P", "-m", PROGRAM, str(theirs.fileno())),
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stderr=stderr, start_new_session=True,
                )  # fmt: skip
        except BaseException:
            self.orders.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def prepare(self, policy: "os.PathLike[str]", gateway: str) -> None:
        """Has it compile the policy for what that leaves behind. Does not wait for it. Raises OSError when it takes no orders."""
        self.orders.send(preparing(os.fsencode(policy), gateway))

    def fork(self, end: socket.socket, told: socket.socket) -> None:
        """A worker. end: the worker's of its channel; told: where the fork server tells of it. Raises OSError as `prepare`."""
        socket.send_fds(self.orders, [FORK], [end.fileno(), told.fileno()])

    def close(self) -> None:
        """Ends it; the workers live on. May be called again."""
        self.orders.close()
        self._process.kill()
        self._process.wait()


def can_fork() -> bool:
    """Whether processes have descriptors here, pidfd_open(2): not before Linux 5.3, and not in every sandbox."""
    if not hasattr(os, "pidfd_open"):
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True
