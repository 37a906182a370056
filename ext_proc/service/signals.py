"""Signals are the supervisor's to hear: it tells its processes over their channels what to do.

A terminal sends Ctrl-C, and its end, to all of them, systemd SIGTERM to every process of a service, and `pkill -HUP headrace`
means the workers, too. What a process ignores is ignored by those it starts.
"""

import signal
from typing import Final

SUPERVISORS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def leave_to_supervisor() -> None:
    """This process goes on, whichever of them comes."""
    for number in SUPERVISORS:
        signal.signal(number, signal.SIG_IGN)
