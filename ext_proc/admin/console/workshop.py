"""A process beside the service that compiles the policy and tries requests on it, for the playground.

Neither the workers nor the supervisor wait for it: it is started when it is first asked, does one thing at a time at the lowest
priority, is ended when it takes too long, and goes when nobody has asked for a while.
"""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from headrace.ext_proc.core.errors import HeadraceError

JOB_S = 30.0
"""For one job; a policy with a language model loads in five seconds on an idle machine."""
IDLE_S = 300.0
MOST_WAITING = 4
ANSWER = 16 * 1024 * 1024
"""Bytes of an answer: the largest request, in pieces, with what every filter says."""


class WorkshopFailed(HeadraceError):
    """There is no answer; the message says why."""


class Workshop:
    """An async context would end it too early: `close` does, at the end of the service."""

    def __init__(self) -> None:
        self._process: Process | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._idle: asyncio.TimerHandle | None = None

    async def ask(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to a job of `bench.py`. Raises WorkshopFailed."""
        if self._waiting >= MOST_WAITING:
            raise WorkshopFailed("Others are trying requests now. Try again in a moment.")
        self._waiting += 1
        try:
            async with self._turn:
                return await self._answered(job)
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        async with self._turn:
            await self._end()

    async def _answered(self, job: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            async with asyncio.timeout(JOB_S):
                process = await self._running()
                assert process.stdin is not None and process.stdout is not None, "both are pipes"
                process.stdin.write(json.dumps(job).encode() + b"\n")
                await process.stdin.drain()
                line = await process.stdout.readline()
        except TimeoutError:
            await self._end()
            raise WorkshopFailed(f"It took longer than {JOB_S:g} s and was ended.") from None
        except (OSError, ValueError):
            line = b""
        except BaseException:
            await self._end()  # else the next one would be given this one's answer
            raise
        if not line.endswith(b"\n"):
            await self._end()
            raise WorkshopFailed("The process that tries requests ended. Try again.")
        self._rest()
        answer: Mapping[str, Any] = json.loads(line)
        return answer

    async def _running(self) -> Process:
        if self._idle is not None:
            self._idle.cancel()
        if self._process is None or self._process.returncode is not None:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "headrace.ext_proc.admin.console.bench",
                stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=ANSWER,
                start_new_session=True,  # a Ctrl-C at the terminal is for the supervisor
            )  # fmt: skip
        return self._process

    def _rest(self) -> None:
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._leave)

    def _leave(self) -> None:
        """It ends by itself at the end of its input, and is reaped when it is next asked for, or at the end."""
        if self._process is not None and self._process.stdin is not None and not self._turn.locked():
            self._process.stdin.close()

    async def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
