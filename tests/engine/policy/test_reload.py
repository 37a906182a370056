"""Reload: what editors and Kubernetes do to files, and what stays in force meanwhile."""

import asyncio
import errno
import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from weakref import WeakSet

import pytest

from headrace.ext_proc.engine.policy import reload
from headrace.ext_proc.engine.policy.compile import Policy, compile_policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.policy.reload import Reloader
from tests.engine.policy.support import PORTS, Workbench, registry
from tests.tokenizer_files import words

ONE = "version: 1\nmodels: [{name: one}]\n"
TWO = "version: 1\nmodels: [{name: two}]\n"
BAD = "version: 1\nmodels: [{nam: two}]\n"
FILED = "version: 1\nmodels: [{name: one, tokenizer: {file: t.json}}]\n"


class Watched:
    """A reloader on a policy file, and what it reported."""

    def __init__(self, path: Path) -> None:
        self.outcomes: asyncio.Queue[Policy | PolicyErrors] = asyncio.Queue()
        self.compiled = 0

        def compile() -> Policy:
            self.compiled += 1
            return compile_policy(path, registry(), PORTS)

        self.reloader = Reloader(path, compile, self.outcomes.put_nowait)
        self.holder = self.reloader.holder

    @property
    def models(self) -> list[str]:
        return [model.name for model in self.holder.current.catalogue]

    async def outcome(self) -> Policy | PolicyErrors:
        return await asyncio.wait_for(self.outcomes.get(), 30)


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Watched]:
    watched = Watched(path)
    task = asyncio.create_task(watched.reloader.run())
    try:
        yield watched
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_file_written_over_is_taken(bench: Workbench) -> None:
    bench.write(ONE)
    async with running(bench.path) as watched:
        pinned = watched.holder.current
        bench.write(TWO)
        assert await watched.outcome() is watched.holder.current
        assert watched.models == ["two"]
        assert [model.name for model in pinned.catalogue] == ["one"]


async def test_a_file_replaced_by_a_rename_is_taken_each_time(bench: Workbench) -> None:
    bench.write(ONE)
    async with running(bench.path) as watched:
        for text, models in ((TWO, ["two"]), (ONE, ["one"]), (TWO, ["two"])):
            new = bench.directory / ".policy.yaml.swp"
            new.write_text(text)
            new.replace(bench.path)
            await watched.outcome()
            assert watched.models == models


async def test_a_turned_link_of_kubernetes_is_taken_each_time(bench: Workbench) -> None:
    def turn(version: str, text: str) -> None:
        (bench.directory / version).mkdir()
        (bench.directory / version / "policy.yaml").write_text(text)
        (bench.directory / "..data_tmp").symlink_to(version)
        (bench.directory / "..data_tmp").replace(bench.directory / "..data")

    turn("..1", ONE)
    bench.path.symlink_to("..data/policy.yaml")
    async with running(bench.path) as watched:
        for version, text, models in (("..2", TWO, ["two"]), ("..3", ONE, ["one"])):
            turn(version, text)
            await watched.outcome()
            assert watched.models == models


async def test_a_bad_file_changes_nothing_and_is_reported_until_it_is_mended(bench: Workbench) -> None:
    bench.write(ONE)
    async with running(bench.path) as watched:
        before = watched.holder.current
        bench.write(BAD)
        assert isinstance(await watched.outcome(), PolicyErrors)
        assert watched.holder.current is before
        assert [problem.where for problem in watched.holder.problems] == ["models[0]", "models[0].nam"]
        bench.write(ONE)
        await watched.outcome()
        assert watched.models == ["one"] and not watched.holder.problems


async def test_a_file_that_vanished_changes_nothing_until_it_is_back(bench: Workbench) -> None:
    bench.write(ONE)
    async with running(bench.path) as watched:
        bench.path.unlink()
        assert isinstance(await watched.outcome(), PolicyErrors)
        assert watched.models == ["one"]
        bench.write(TWO)
        await watched.outcome()
        assert watched.models == ["two"]


async def test_a_change_of_a_file_it_names_is_a_change_of_the_policy(bench: Workbench) -> None:
    (bench.directory / "t.json").write_text(words())
    bench.write(FILED)
    async with running(bench.path) as watched:
        before = watched.holder.current.revision
        (bench.directory / "t.json").write_text(words(fold=True))
        await watched.outcome()
        assert watched.holder.current.revision != before


async def test_a_file_that_was_missing_is_waited_for(bench: Workbench) -> None:
    (bench.directory / "elsewhere").mkdir()
    bench.write(ONE)
    async with running(bench.path) as watched:
        bench.write(FILED.replace("t.json", "elsewhere/t.json"))
        assert isinstance(await watched.outcome(), PolicyErrors)
        (bench.directory / "elsewhere" / "t.json").write_text(words())
        await watched.outcome()
        assert watched.holder.current.files == {bench.directory / "elsewhere" / "t.json"}


async def test_a_look_at_files_that_did_not_change_compiles_nothing(bench: Workbench) -> None:
    bench.write(ONE)
    watched = Watched(bench.path)
    await watched.reloader.look()
    assert watched.compiled == 1


class Knot:
    """What only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


async def test_nothing_is_left_of_what_compiling_tied_in_knots(bench: Workbench) -> None:
    knots: WeakSet[Knot] = WeakSet()

    def compile() -> Policy:
        knots.add(Knot())
        return compile_policy(bench.path, registry(), PORTS)

    bench.write(ONE)
    reloader = Reloader(bench.path, compile, lambda outcome: None)
    gc.disable()  # a worker collects seldom
    try:
        for text in (TWO, BAD, ONE):
            bench.write(text)
            await reloader.look()
            assert not knots
    finally:
        gc.enable()


async def test_a_touched_file_of_the_same_content_is_not_swapped(bench: Workbench) -> None:
    bench.write(ONE)
    watched = Watched(bench.path)
    before = watched.holder.current
    os.utime(bench.path, (1, 1))
    await watched.reloader.look()
    assert watched.compiled == 2 and watched.holder.current is before and watched.outcomes.empty()


def test_a_first_policy_that_is_bad_starts_nothing(bench: Workbench) -> None:
    bench.write(BAD)
    with pytest.raises(PolicyErrors):
        Watched(bench.path)


async def test_a_change_within_one_tick_of_the_clock_is_seen(bench: Workbench) -> None:
    bench.write(ONE)
    os.utime(bench.path, (1, 1))
    watched = Watched(bench.path)
    bench.write(TWO)
    os.utime(bench.path, (1, 1))
    await watched.reloader.look()
    assert watched.models == ["two"]


async def test_a_process_without_descriptors_or_threads_follows_its_files_when_it_has_some_again(
    bench: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "LOOK_ANYWAY_MS", 10)
    refusals = [OSError(errno.EMFILE, "Too many open files"), RuntimeError("can't start new thread"), MemoryError()]
    bench.write(ONE)

    def compile() -> Policy:
        if bench.path.read_text() == TWO and refusals:
            raise refusals.pop()
        return compile_policy(bench.path, registry(), PORTS)

    taken: asyncio.Queue[Policy | PolicyErrors] = asyncio.Queue()
    following = asyncio.create_task(Reloader(bench.path, compile, taken.put_nowait).run())
    bench.write(TWO)
    outcome = await asyncio.wait_for(taken.get(), 30)
    assert isinstance(outcome, Policy)
    assert [model.name for model in outcome.catalogue] == ["two"]
    assert not refusals
    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
