"""Prompts that are searched in a process of the worker's own, which is killed meanwhile: nothing leaks."""

import asyncio
import os
import signal
from collections.abc import Collection
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from headrace.filters.pii.long_texts.process import PROGRAM
from tests.bench.processes import tree
from tests.e2e.site import Caller, Site, chain, chat, running_site, until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

LINES = 700
_numbers = count()


def long_prompt() -> str:
    """Some 60 KB that were never sent before."""
    salt = next(_numbers)
    return "\n".join(f"{line}: write to canary.{salt}.{line}@example.com about the invoice of last week" for line in range(LINES))


def searching(site: Site) -> list[int]:
    """The process that searches for the only worker."""
    pid = site.stack.service.slots[0].pid
    assert pid is not None
    return [each for each in tree(pid) if each != pid and PROGRAM.encode() in Path(f"/proc/{each}/cmdline").read_bytes()]


async def asked(site: Site, caller: Caller) -> None:
    answer = await site.post(caller, chat(long_prompt()), x_simulate="tokens=2")
    assert answer.status_code == 200, answer.text


async def test_long_prompts_are_searched_whatever_becomes_of_the_process_that_does() -> None:
    async with running_site(filters=chain(pii={"entities": ["EMAIL_ADDRESS"], "timeout_ms": 4000})) as site:
        caller = await site.caller()

        async def begun(but: Collection[int]) -> bool:
            await asked(site, caller)
            return not set(searching(site)) <= set(but)

        await until(partial(begun, ()), "a process that searches")
        killed = searching(site)
        asking = [asyncio.create_task(asked(site, caller)) for _ in range(3)]
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*asking)
        await until(partial(begun, killed), "another process that searches")
        bodies = [entry.body for entry in site.received]
        assert len(bodies) > 5
        assert [body.count(b"<EMAIL_ADDRESS_") for body in bodies] == [LINES] * len(bodies)
        assert not any(b"canary" in body for body in bodies)
