"""What a fault is: something that is done to a running site, for a while, with a stated bound on what it may cost.

A module of this package defines subclasses of `Fault`; `tests.soak.faults.catalogue` lists one of each for the run. What a fault
may use of the site is in `tests.soak.site.Site`; where it must stand between two processes from the start it is a `Splicer`.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, Flag, auto
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from tests.soak.site import Site


AUDIT = "audit"
"""In the site's folder: the directory of the audit log."""


class Bound(Flag):
    """What a fault may cost an exchange that was under way in its window. Everything that is not named here is a loss.

    Never allowed, whatever is broken: a second charge, a reached model free of charge, a charge above what was reserved, personal
    data at an upstream, a placeholder or another tenant's data at a caller, a caller answered without a record, a broken chain.
    """

    NOTHING = 0
    AS_RESERVED = auto()
    """Its lease may stand at what was reserved (in the ledger: `kept`, or `expired` once the lease has lapsed)."""
    REFUSED = auto()
    """Its caller may be refused with a 5xx: in the caller's dialect, with a stable code."""
    CUT = auto()
    """Its caller's connection may break, before the answer or within it."""
    UNCOUNTED = auto()
    """Words of a stream that is counted here may be missing from its charge: those that had not been read."""
    UNDECIDED = auto()
    """What its caller was refused may be without any record; the log counts such records as dropped."""
    UNRECORDED = auto()
    """The audit log may lack what follows the request's own record: the verdict on the answer, the settlement."""


@dataclass(frozen=True)
class Window:
    """What was disturbed, and from when to when: the event loop's `time()`, seconds. It ends when all is well again.

    reach_s: an exchange whose answer ended so long before the window may still have been waiting for its settlement.
    """

    kind: str
    began: float
    ended: float
    bound: Bound = Bound.NOTHING
    reach_s: float = 2.0
    note: str = ""

    def concerns(self, began: float, ended: float) -> bool:
        """Whether it could have touched an exchange that ran from `began` to `ended`."""
        return began <= self.ended and ended >= self.began - self.reach_s


class Fault(ABC):
    """One kind of fault. An instance lives as long as the run and strikes many times, never twice at once."""

    kind: ClassVar[str]
    """Its name in the report, such as `kill-worker`."""
    ends_lives: ClassVar[bool] = False
    """Whether it ends the service's own processes, whose memory is followed over as long a life as possible."""

    def unavailable(self) -> str:
        """Why this machine cannot have it, such as a missing library or privilege; empty where it can."""
        return ""

    def furnish(self, folder: Path) -> Mapping[str, str]:
        """Called once before anything runs. folder: the site's own, empty but for `folder / AUDIT`, where the audit log will be.

        A small file system may be mounted there. What is returned goes into the environment of the service's processes, at every
        start of theirs, such as LD_PRELOAD.
        """
        return {}

    async def prepare(self, site: "Site") -> None:  # noqa: B027 – most have nothing to prepare
        """Called once before the first strike, when everything runs."""

    @abstractmethod
    async def strike(self, site: "Site", random: Random) -> Window:
        """Break something, hold it for a while that `random` says, mend it, and return when all is well again.

        Every decision comes from `random`, so that a seed repeats the run. A strike takes some 1 to 10 seconds.
        """

    async def close(self) -> None:  # noqa: B027 – most leave nothing behind
        """Undo what outlives the site, such as a mount. Called once, also after a failure."""


class Place(Enum):
    """Between which processes a proxy may stand."""

    CALLERS = "callers to Envoy"
    UPSTREAMS = "Envoy to upstreams"
    STORE = "service to store"
    SERVICE = "Envoy to service"  # only where the service listens on TCP


@dataclass(frozen=True)
class Port:
    """Of loopback, TCP."""

    host: str
    port: int


class Splicer(Protocol):
    """Stands between processes. The site asks it once for each link, before either side starts, and closes it last."""

    async def splice(self, place: Place, name: str, target: Port) -> Port:
        """Where the near side shall connect in place of `target`. name: of the upstream or worker, unique in its place."""

    async def close(self) -> None:
        """Stop listening."""


class Direct:
    """Nothing stands between."""

    async def splice(self, place: Place, name: str, target: Port) -> Port:
        return target

    async def close(self) -> None:
        return None
