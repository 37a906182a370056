"""A budget that pays for ten answers beside the one that a gateway shows to be up with, and twenty requests at once; then one at a
time until the gateway refuses.

The model takes half a second, so that all twenty are under way together. What an answer costs follows from its usage, which is the
same for all, at the prices that every gateway is told.
"""

import asyncio
from collections import Counter
from collections.abc import Sequence

import httpx
import msgspec

from tests.bench.rounds import Gateway, rest

from .streams import chat, headers

AT_ONCE = 20
PAID_FOR = 10
FIRST = 1
PRICE_IN, PRICE_OUT = 0.60, 0.80  # USD per million tokens
USAGE_IN, USAGE_OUT = 45, 5
LIMIT_USD = (FIRST + PAID_FOR) * (USAGE_IN * PRICE_IN + USAGE_OUT * PRICE_OUT) / 1e6
PROMPT = (
    "How does the water turn the wheel of the mill when the gate is open and the river runs high after a week of rain and wind?"
)
"""Of `USAGE_IN` tokens with what is around it, so that a gateway that counts a prompt counts what the model says."""

_MORE = 20  # requests one at a time, at most
_REFUSALS = frozenset({402, 403, 429})


class Overshoot(msgspec.Struct, frozen=True):
    """answered: of the twenty at once; later: of those one at a time; over: spent beyond the limit, as a share of it."""

    at_once: int
    answered: int
    later: int
    over: float
    problems: list[str]


def overshoot(together: Sequence[int], later: Sequence[int]) -> Overshoot:
    """From the statuses of the requests."""
    answered, more = together.count(200), later.count(200)
    strange = Counter(status for status in (*together, *later) if status != 200 and status not in _REFUSALS)
    problems = [f"{count} answers had status {status}" for status, count in sorted(strange.items())]
    if not any(status in _REFUSALS for status in (*together, *later)):
        problems.append("it refused nothing")
    return Overshoot(len(together), answered, more, max(0.0, (answered + more - PAID_FOR) / (FIRST + PAID_FOR)), problems)


async def ask(gateway: Gateway) -> Overshoot:
    """Twenty at once, then one at a time until the first refusal."""
    await rest(gateway, FIRST)
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers(gateway), timeout=30) as client:
        together = await asyncio.gather(*(_status(client) for _ in range(AT_ONCE)))
        later: list[int] = []
        while len(later) < _MORE and (not later or later[-1] == 200):
            later.append(await _status(client))
    return overshoot(together, later)


async def _status(client: httpx.AsyncClient) -> int:
    request = chat(PROMPT, max_tokens=USAGE_OUT)
    return (await client.post("/v1/chat/completions", json=request)).status_code
