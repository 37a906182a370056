"""The process that workers are forked from: `python -m headrace.ext_proc.service.fork_server FD`.

It has imported and compiled what they need, and shares the memory of it with them. It runs no thread and no event loop, and knows
no policy: see `rehearsal`. FD is a socket on which it takes `orders`. What becomes of a worker is told on the socket that came with
the order: its process id, with a descriptor of the process (pidfd_open(2)), and later its exit status; or only why there is none.
The end of FD is the supervisor's, and this process's; its workers see their own.
"""

import contextlib
import gc
import os
import select
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, NoReturn

from headrace.ext_proc.service.names import FORK_SERVER, call_it
from headrace.ext_proc.service.orders import FORK, LONGEST, prepared
from headrace.ext_proc.service.signals import leave_to_supervisor

TASKS = Path("/proc/self/task")
"""The threads of this process, of libraries in C and Rust, too."""


class Child(NamedTuple):
    pid: int
    told: socket.socket


class ForkServer:
    """prepare: makes ready what workers of a policy need. live: a worker's life, and the end of its process."""

    def __init__(
        self, orders: socket.socket, prepare: Callable[[Path, str], None], live: Callable[[socket.socket], NoReturn]
    ) -> None:
        self._orders = orders
        self._prepare = prepare
        self._live = live
        self._children: dict[int, Child] = {}  # by the descriptor of the process

    def run(self) -> None:
        """Returns when the supervisor is gone."""
        while self._turn():
            pass

    def _turn(self) -> bool:
        """Whether there is still a supervisor, after something has happened."""
        poll = select.poll()
        for watched in (self._orders.fileno(), *self._children):
            poll.register(watched, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll()]
        for descriptor in ready:
            if descriptor in self._children:
                self._ended(descriptor)
        return self._orders.fileno() not in ready or self._obey()

    def _obey(self) -> bool:
        """Whether there was an order."""
        try:
            order, descriptors, _, _ = socket.recv_fds(self._orders, LONGEST, 2, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return False
        sockets = [socket.socket(fileno=each) for each in descriptors]
        if order == FORK and len(sockets) == 2:  # fewer when this process may have no more of them; then the others are closed
            self._fork(*sockets)
        elif (wanted := prepared(order)) is not None:
            policy, gateway = wanted
            self._prepare(Path(os.fsdecode(policy)), gateway)
        return bool(order)

    def _fork(self, end: socket.socket, told: socket.socket) -> None:
        threads = len(list(TASKS.iterdir()))
        if threads > 1:  # a fork copies their locks as they are, and nobody who would open them
            with end, told:
                _tell(told, f"{threads} threads run here")
            return
        pid = os.fork()
        if pid == 0:
            self._become_worker(end, told)
        end.close()
        process = os.pidfd_open(pid)  # of this very process: it keeps its number until it is waited for, here
        self._children[process] = Child(pid, told)
        _tell(told, str(pid), process)

    def _become_worker(self, end: socket.socket, told: socket.socket) -> NoReturn:
        try:
            os.setsid()  # a Ctrl-C at the terminal is for the supervisor, which drains its workers
            told.close()
            self._orders.close()
            for process, (_, other) in self._children.items():
                os.close(process)
                other.close()
            gc.enable()
            self._live(end)
        finally:
            os._exit(1)

    def _ended(self, process: int) -> None:
        pid, told = self._children.pop(process)
        os.close(process)
        _, status = os.waitpid(pid, 0)
        _tell(told, str(os.waitstatus_to_exitcode(status)))
        told.close()


def _tell(told: socket.socket, what: str, *descriptors: int) -> None:
    with contextlib.suppress(OSError):  # the supervisor is gone, or did not wait
        socket.send_fds(told, [what.encode()], descriptors)


def main() -> None:
    gc.disable()  # while modules are loaded, everything is made to last
    leave_to_supervisor()
    call_it(FORK_SERVER)
    orders = socket.socket(fileno=int(sys.argv[1]))

    from headrace.ext_proc.engine.imports import UNUSED, absent

    with absent(*UNUSED):
        from headrace.ext_proc.service.rehearsal import rehearse

    ForkServer(orders, rehearse, _live).run()


def _live(end: socket.socket) -> NoReturn:
    from headrace.ext_proc.service.worker_process import live  # a rehearsal has imported it

    live(end)


if __name__ == "__main__":
    main()
