"""The faults of a run, and the splicer that their proxies are."""

from collections.abc import Sequence

from tests.soak.faults.base import Fault, Splicer
from tests.soak.faults.clock_steps import ClockSteps
from tests.soak.faults.kills import KillForkServer, KillGateway, KillPool, KillStore, KillSupervisor, KillWorker
from tests.soak.faults.links import Proxies, networks
from tests.soak.faults.refusing_disks import FewDescriptors, FilesRefused, FullDisk
from tests.soak.faults.rude_upstreams import RudePool
from tests.soak.faults.standstills import StallStore, StopPool, StopWorker


def faults(seed: int = 0, *, tcp: bool = False) -> tuple[Sequence[Fault], Splicer]:
    """Fresh instances. The splicer is shared with the faults that steer it. tcp: whether Envoy calls the service over TCP."""
    proxies = Proxies(seed)
    kills = (KillWorker(), KillSupervisor(), KillForkServer(), KillStore(), KillGateway(), KillPool())
    standstills = (StallStore(), StopWorker(), StopPool())
    refusals = (FullDisk(), FilesRefused(), FewDescriptors())
    return (*kills, *standstills, *refusals, ClockSteps(), RudePool(proxies), *networks(proxies, tcp=tcp)), proxies
