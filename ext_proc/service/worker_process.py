"""One worker process: `python -m headrace.ext_proc.service.worker_process FD`, where FD is its end of the supervisor's channel."""

import contextlib
import os
import signal
import socket
import sys

import uvloop

from headrace.ext_proc.engine.imports import UNUSED, absent

with absent(*UNUSED):
    from headrace.ext_proc.service.worker import serve


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the supervisor's to hear
    end = socket.socket(fileno=int(sys.argv[1]))
    status = 1
    with contextlib.suppress(StopAsyncIteration):  # the supervisor was gone before it said what to do
        status = uvloop.run(serve(end))
    # grpcio's threads may hold up an ordinary exit; everything that must be written has been by now.
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
