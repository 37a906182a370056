"""A worker that has died leaves a socket that nobody answers on. Until it is replaced, another worker answers there in its place.

Envoy repeats a request elsewhere when a worker refuses the connection. Its access log it does not: a stream of entries begins with
the names of all of Envoy's extensions, which alone exceed the 64 KiB that Envoy keeps to repeat, and what it flushes towards a
socket that refuses is lost, unsettled.
"""

import logging
from pathlib import Path

from headrace.ext_proc.envoy.config.settings import Address

log = logging.getLogger(__name__)


def stand_in(dead: Address, alive: Address) -> bool:
    """Whoever connects to the dead worker's socket reaches the other's; whether it is so. Ports stay as they are.

    Two names of one file: the dead one's path becomes another name of the other's socket, at no moment missing. Where the file
    system has no such thing it is logged, and the path refuses until there is another worker.
    """
    if dead.path is None or alive.path is None:
        return False
    theirs, spare = Path(dead.path), Path(f"{dead.path}.next")
    try:
        if theirs.exists() and theirs.samefile(alive.path):
            return True
        spare.unlink(missing_ok=True)
        spare.hardlink_to(alive.path)
        spare.replace(theirs)
    except OSError as error:
        log.warning("no worker can stand in", extra={"address": str(dead), "why": error.strerror})
        return False
    return True


def take_over(address: Address) -> None:
    """For a worker that is about to listen: whoever stood in for it does so no longer.

    Its supervisor has seen to it that the address is no other service's.
    """
    if address.path is not None and Path(address.path).is_socket():
        Path(address.path).unlink(missing_ok=True)
