"""One worker process: `python -m headrace.ext_proc.service.worker_process FD`, where FD is its end of the supervisor's channel."""

import contextlib
import os
import socket
import sys
from typing import NoReturn

import uvloop

from headrace.ext_proc.engine.imports import UNUSED, absent
from headrace.ext_proc.service.descriptors import allow_many
from headrace.ext_proc.service.names import WORKER, call_it
from headrace.ext_proc.service.signals import leave_to_supervisor

with absent(*UNUSED):
    from headrace.ext_proc.service.worker import serve


def live(end: socket.socket) -> NoReturn:
    """A worker's life, and the end of this process."""
    status = 1
    try:
        call_it(WORKER)
        leave_to_supervisor()
        allow_many()
        with contextlib.suppress(StopAsyncIteration):  # the supervisor was gone before it said what to do
            status = uvloop.run(serve(end))
    except BaseException:  # noqa: BLE001  what an ordinary exit would do
        sys.excepthook(*sys.exc_info())
    finally:
        # grpcio's threads may hold up an ordinary exit; everything that must be written has been by now.
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    live(socket.socket(fileno=int(sys.argv[1])))
