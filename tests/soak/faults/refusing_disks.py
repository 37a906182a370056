"""The audit log's disk is full, or takes nothing; the service's processes run out of descriptors. All of it passes by itself."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from random import Random
from typing import ClassVar

from tests.soak.faults.base import AUDIT, Bound, Fault, Window
from tests.soak.faults.disk import NEEDS_ROOT, SmallDisk, may_mount
from tests.soak.faults.limits import few_descriptors, no_growing_files
from tests.soak.faults.striking import eventually, hold, striking
from tests.soak.site import Site

WAITING = "headrace_audit_waiting"


class FullDisk(Fault):
    """`on_full: block`: requests are refused, what was to be recorded waits, and goes to the disk when there is room again."""

    kind: ClassVar[str] = "full-disk"

    def __init__(self) -> None:
        self._disk: SmallDisk | None = None

    def unavailable(self) -> str:
        return "" if may_mount() else NEEDS_ROOT

    def furnish(self, folder: Path) -> Mapping[str, str]:
        self._disk = SmallDisk(folder / AUDIT)
        self._disk.mount()
        return {}

    async def strike(self, site: Site, random: Random) -> Window:
        assert self._disk is not None, "furnish() comes first"
        return await _refused(site, self.kind, random, self._disk.full())

    async def close(self) -> None:
        if self._disk is not None:
            self._disk.unmount()
            self._disk = None


class FilesRefused(Fault):
    """The same without root, for the decision log as well: the kernel takes no byte of any file from the workers."""

    kind: ClassVar[str] = "file-limit"

    async def strike(self, site: Site, random: Random) -> Window:
        return await _refused(site, self.kind, random, no_growing_files(site.service.workers()))


async def _refused(site: Site, kind: str, random: Random, full: AbstractContextManager[None]) -> Window:
    async with striking(site, kind, Bound.REFUSED | Bound.UNDECIDED | Bound.UNRECORDED) as course:
        with full:
            await hold(random, 0.5, 4.0)
        await eventually(lambda: _written(site), "what waited for the audit log's disk is on it")
    return course.window


async def _written(site: Site) -> bool:
    """Whether the log takes records again: few wait."""
    lines = [line for line in (await site.metrics()).splitlines() if line.startswith(WAITING)]
    return bool(lines) and all(float(line.split()[-1]) < 100 for line in lines)


class FewDescriptors(Fault):
    """What is connected goes on; what would be opened is not: connections of Envoy and to the store, and a policy's files."""

    kind: ClassVar[str] = "few-descriptors"

    async def strike(self, site: Site, random: Random) -> Window:
        async with striking(site, self.kind, Bound.REFUSED) as course:
            with few_descriptors(site.service.workers(), spare=random.randrange(3)):
                await hold(random, 1.0, 4.0)
        return course.window
