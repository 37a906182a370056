"""The desk of the policy's budgets, at the moment of a call, and its refusals as the API's."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.ext_proc.admin.errors import ApiError, Code
from headrace.ext_proc.admin.operation import Call
from headrace.ext_proc.admin.policies import budgets_of
from headrace.ext_proc.engine.budgets.desk import Desk, DeskError

_CODES: Mapping[str, Code] = {
    "unknown_budget": "not_found",
    "not_found": "not_found",
    "invalid": "request.invalid",
    "conflict": "conflict",
    "not_yours": "not_yours",
}


@dataclass(frozen=True, slots=True)
class At:
    """A clock that stands at the moment of a call."""

    now: datetime

    def now_ms(self) -> int:
        return int(self.now.timestamp() * 1000)


async def desk_of(call: Call[Any, Any]) -> Desk:
    """Raises ApiError where the policy cannot be read."""
    limits = await asyncio.to_thread(budgets_of, call.site.policy)
    return Desk(limits, call.site.store, At(call.now))


@contextmanager
def explained() -> Iterator[None]:
    """A DeskError as ApiError."""
    try:
        yield
    except DeskError as error:
        raise ApiError(_CODES[error.code], str(error)) from None
