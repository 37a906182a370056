"""The measurement in three phases, each with gateways of its own: single answers, streams, and a budget that runs out."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.gateways import service
from tests.bench.processes import peak_by_part, tied
from tests.bench.rounds import Effort, Gateway, measure, turned
from tests.bench.upstream import upstream

from . import budget, leaks, paced, prompts
from .environment import CannotInstallError
from .figures import Measured, Missing, latest
from .gateways import Row, Start

Tell = Callable[[str], None]
_POLL, _TRIES = 0.05, 400  # 20 s


@dataclass(frozen=True, slots=True)
class Efforts:
    """load: for single answers; events: of each stream; prompts: of 400 KB, in each round."""

    load: Effort
    events: int
    prompts: int


FULL = Efforts(Effort(rounds=3, crowd=6, alone=4, warm_up=3), events=250, prompts=8)
QUICK = Efforts(Effort(rounds=1, crowd=3, alone=2, warm_up=2), events=100, prompts=3)


class Peers:
    """All rows. measured, missing: by the row's name; a row that is missing from one phase is left out of the others."""

    def __init__(self, rows: Sequence[Row], efforts: Efforts, directory: Path, tell: Tell) -> None:
        self.measured = {row.name: Measured() for row in rows}
        self.missing: dict[str, Missing] = {}
        self._rows, self._efforts, self._directory, self._tell = rows, efforts, directory, tell

    def install(self) -> None:
        """What the rows need; a row that does not get it is missing. Before anything runs, for it may take minutes."""
        for row in self._rows:
            try:
                for need in row.needs:
                    need()
            except CannotInstallError as error:
                self.missing[row.name] = Missing(row.name, str(error))

    async def all(self) -> None:
        """The three phases."""
        async with upstream(self._folder("nginx")) as (_, url):
            await self._answers(url)
        async with _model(self._folder("model")) as url:
            await self._streams(url)
            await self._budgets(url)

    async def _answers(self, url: str) -> None:
        async with self._running("answers", url, {row.name: row.start for row in self._rows}) as gateways:
            for name, samples in (await measure(gateways, self._efforts.load, self._tell)).items():
                self.measured[name].samples = samples
            for gateway in self._turns(gateways, "prompts of 400 KB"):
                it = self.measured[gateway.name]
                it.prompts = [*it.prompts, await prompts.ask(gateway, self._efforts.prompts)]

    async def _streams(self, url: str) -> None:
        async with self._running("streams", url, {row.name: row.start for row in self._rows}) as gateways:
            for gateway in gateways:
                self._tell(f"how many streams it holds, and what leaks: {gateway.name}")
                it = self.measured[gateway.name]
                it.leaks = await leaks.ask(gateway)
                it.crowds = [await paced.largest(gateway, url, self._efforts.events)]
            while gateways:  # what was held once may be at the edge of what can be held
                for gateway in self._turns(gateways, "streams", first=1):
                    it = self.measured[gateway.name]
                    it.crowds = [*it.crowds, await paced.crowd(gateway, url, it.crowds[0].streams, self._efforts.events)]
                gateways = [gateway for gateway in gateways if paced.smaller(self.measured[gateway.name].crowds)]
                for gateway in gateways:
                    it = self.measured[gateway.name]
                    it.crowds = [await paced.crowd(gateway, url, paced.smaller(it.crowds), self._efforts.events)]

    async def _budgets(self, url: str) -> None:
        starts = {row.name: row.tight for row in self._rows if row.tight}
        async with self._running("budget", url, starts) as gateways:
            for gateway in gateways:
                self._tell(f"a budget for {budget.PAID_FOR} answers: {gateway.name}")
                self.measured[gateway.name].overshoot = await budget.ask(gateway)

    def _turns(self, gateways: Sequence[Gateway], what: str, first: int = 0) -> Sequence[Gateway]:
        rounds = range(first, self._efforts.load.rounds)
        self._tell(f"{what}, {len(rounds)} rounds")
        return [gateway for number in rounds for gateway in turned(gateways, number)]

    @contextlib.asynccontextmanager
    async def _running(self, phase: str, url: str, starts: Mapping[str, Start]) -> AsyncIterator[Sequence[Gateway]]:
        """The gateways that came up, all at once; what the others said is in `missing`."""
        self._tell(f"{phase}: starting {len(starts)} gateways")
        wanted = {name: start for name, start in starts.items() if name not in self.missing}
        async with contextlib.AsyncExitStack() as stack:
            begun = [self._begin(stack, name, start(url, self._folder(f"{phase} {name}"))) for name, start in wanted.items()]
            gateways = [gateway for gateway in await asyncio.gather(*begun) if gateway]
            yield gateways
            for gateway in gateways:
                it = self.measured[gateway.name]
                it.peaks = latest(it.peaks, peak_by_part(gateway.roots))

    async def _begin(
        self, stack: contextlib.AsyncExitStack, name: str, running: contextlib.AbstractAsyncContextManager[Gateway]
    ) -> Gateway | None:
        try:
            return await stack.enter_async_context(running)
        except (CannotInstallError, RuntimeError, OSError) as error:
            self._tell(f"{name}: {error}")
            self.missing[name] = Missing(name, str(error).partition("\n")[0])
            return None

    def _folder(self, name: str) -> Path:
        folder = self._directory / name.replace(" ", "-").replace(",", "")
        folder.mkdir()
        return folder


@contextlib.asynccontextmanager
async def _model(directory: Path) -> AsyncIterator[str]:
    """The URL of the model server of the streams."""
    told = directory / "url"
    async with service(tied(sys.executable, "-m", "tests.bench.peers.model", str(told)), directory / "model.log"):
        yield await asyncio.to_thread(_content, told)


def _content(file: Path) -> str:
    """Once there is one. Raises RuntimeError."""
    for _ in range(_TRIES):
        if file.exists() and (text := file.read_text()):
            return text
        time.sleep(_POLL)
    raise RuntimeError(f"the model server did not come up; its words are in {file.with_name('model.log')}")
