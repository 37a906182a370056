"""Waiting for a condition with a deadline, never for a time; asking a worker how it is; looking at processes."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio

from headrace.ext_proc.service.names import WORKER

DEADLINE_S = 30.0
HEALTH = "/grpc.health.v1.Health/Check"
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


async def until(condition: Callable[[], bool | Awaitable[bool]], what: str) -> None:
    """Returns when the condition holds. Fails after DEADLINE_S, saying what did not happen."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            while not await _holds(condition):  # noqa: ASYNC110  what is waited for is in another process
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"it did not happen that {what}") from None


async def _holds(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    result = condition()
    return result if isinstance(result, bool) else await result


async def health(address: str) -> bytes | None:
    """A worker's answer to a health check; None when nobody answers."""
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(HEALTH)
            return await ask(b"", timeout=2)
        except grpc.aio.AioRpcError:
            return None


def lives(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def children(pid: int) -> list[int]:
    """The process ids of a process's children, theirs included; none of one that has ended, or does so meanwhile."""
    found: list[int] = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, _children_of(task)):
                found += [child, *children(child)]
    return found


def workers_of(pid: int) -> list[int]:
    """The workers among a service's processes. pid: its supervisor's."""
    return [child for child in children(pid) if name(child) == WORKER]


def with_name(wanted: str) -> list[int]:
    """Every process that `ps -o comm` calls so."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [pid for pid in pids if name(pid) == wanted and lives(pid)]


def name(pid: int) -> str:
    """What `ps -o comm` calls a process. Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _children_of(task: Path) -> list[str]:
    """Of one thread."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return (task / "children").read_text().split()
    return []
