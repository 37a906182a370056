"""`python -m tests.audit.crashing DIRECTORY`: writes records as fast as they are acknowledged, and says on standard output which
were. To be killed.
"""

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from headrace.ext_proc.audit.chain import Chain
from headrace.ext_proc.audit.log import AuditLog
from headrace.ext_proc.engine.clock import SystemClock
from tests.audit.logs import decision, terms_at
from tests.audit.meters import Counts

TOGETHER = 8
"""Requests at once."""


async def main(directory: Path) -> None:
    clock = SystemClock()
    terms = terms_at(directory, bodies="encrypted", wait_ms=30_000)
    log = AuditLog(Chain(terms, "0", clock.now_ms), clock.now_ms, Counts())
    numbers = count()
    os.write(1, b"ready\n")
    await asyncio.gather(*(one_after_the_other(log, numbers) for _ in range(TOGETHER)))


async def one_after_the_other(log: AuditLog, numbers: "count[int]") -> None:
    for number in numbers:
        members = decision(number)
        await log.commit("decision", members, {"request": b"x" * 2000})
        os.write(1, f"{members['exchange']}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
