"""Says in the log that the store fails, how, and when it answers again: once per change, not once per call."""

import logging
from collections.abc import Awaitable, Callable
from enum import Enum
from time import monotonic
from typing import Final, TypeVar

from headrace.ext_proc.core.ports import REFUSED, StoreUnavailable

log = logging.getLogger(__name__)

QUIET_S: Final = 5.0
"""Between two lines about one outage, and without a failure before it is over: a store that comes and goes says little."""
DETAIL_MAX: Final = 200
"""Characters of what the store, or the connection, said."""
WRITES: Final = frozenset({"reserve", "extend", "settle", "enrol"})
"""Operations that a server refuses while it is full, or is a replica, and that show that it is neither."""

_Answer = TypeVar("_Answer")


class Failure(Enum):
    """How the store fails; the value is the log's message."""

    SILENT = "the store does not answer"
    REFUSES = "the store refuses"


class Outages:
    """Is told how calls end. now: seconds that only go forward."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._failure: Failure | None = None
        """What was said last; None while the store answers."""
        self._began = self._said = self._failed = float("-inf")

    async def watched(self, operation: str, call: Awaitable[_Answer]) -> _Answer:
        """Its answer. Raises what it raises."""
        try:
            answer = await call
        except StoreUnavailable as error:
            self.failed(error)
            raise
        self.answered(operation)
        return answer

    def failed(self, error: StoreUnavailable) -> None:
        now = self._failed = self._now()
        failure = Failure.REFUSES if str(error).startswith(REFUSED) else Failure.SILENT
        if failure is self._failure or (self._failure is not None and now < self._said + QUIET_S):
            return
        if self._failure is None:
            self._began = now
        self._failure, self._said = failure, now
        log.warning(failure.value, extra={"detail": _detail(error)})

    def answered(self, operation: str) -> None:
        if self._failure is None or self._now() < self._failed + QUIET_S:
            return
        if self._failure is Failure.REFUSES and operation not in WRITES:
            return
        self._failure = None
        log.info("the store answers again", extra={"failed_seconds": round(self._failed - self._began, 1)})


def _detail(error: StoreUnavailable) -> str:
    """Without the arguments of a call, which some servers quote when they do not know its command."""
    return str(error).removeprefix(REFUSED).partition(", with args")[0][:DETAIL_MAX]
