"""The command `headrace`. A command's module is imported when it is called, so that `headrace --help` is there at once."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headrace.ext_proc.service.forking import ForkServerProcess


def main() -> None:
    """The entry point."""
    with _begun(sys.argv[1:]) as server:
        from headrace.ext_proc.cli.lazy import application

        application()(obj=server)


@contextmanager
def _begun(arguments: Sequence[str]) -> "Iterator[ForkServerProcess | None]":
    """For `headrace serve` the process its workers are forked from: it imports their modules while this one reads its options."""
    if arguments[:1] != ["serve"] or "--help" in arguments:
        yield None
        return
    from headrace.ext_proc.service.forking import ForkServerProcess, can_fork

    try:
        server = ForkServerProcess() if can_fork() else None
    except OSError:  # the service tries again, and says why
        server = None
    try:
        yield server
    finally:
        if server is not None:
            server.close()
