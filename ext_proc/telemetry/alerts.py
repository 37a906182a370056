"""Warnings of budgets, as signed events to the webhook of the policy in force: https://www.standardwebhooks.com"""

import asyncio
import base64
import hmac
import json
import logging
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.ledger import Fixed, Sliding, Unit, Window
from headrace.ext_proc.core.ports import Clock
from headrace.ext_proc.engine.policy.webhooks import Webhook

if TYPE_CHECKING:
    import httpx

log = logging.getLogger(__name__)

KIND: Final = "budget_warning"
WAITING: Final = 1_000
"""Events that are under way or wait for their next try: each is of another counter or threshold."""
AT_ONCE: Final = 4
"""Requests to the webhook at once."""
TRIES: Final = 10
FIRST_PAUSE: Final = 1.0
"""Seconds, doubled after every try: the last one is made eight and a half minutes after the first."""
TIMEOUT_S: Final = 10.0
CLOSE_S: Final = 3.0
"""For events under way when the service ends."""
_NANO: Final = Decimal(10**9)


class Alerts:
    """An observer of the effect runner. webhook: the one of the policy in force. dropped: told of each event that was given up."""

    def __init__(self, webhook: Callable[[], Webhook | None], clock: Clock, dropped: Callable[[], None]) -> None:
        self._webhook = webhook
        self._clock = clock
        self._dropped = dropped
        self._at_once = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._client: httpx.AsyncClient | None = None

    def observe(self, record: Record) -> None:
        """On the loop; never waits."""
        if record.kind != KIND:
            return
        body = json.dumps(event_of(record.members)).encode()
        log.warning("budget threshold reached", extra={"event": body.decode()})
        if self._webhook() is None:
            return
        if len(self._tasks) >= WAITING:
            self._drop("too many wait")
            return
        task = asyncio.create_task(self._deliver(f"msg_{secrets.token_hex(12)}", body), name="alert")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Gives events under way a moment; what is left then is dropped."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()

    async def _deliver(self, id: str, body: bytes) -> None:
        pause = FIRST_PAUSE
        try:
            for _ in range(TRIES):
                if await self._sent(id, body):
                    return
                await asyncio.sleep(pause)
                pause *= 2
        except asyncio.CancelledError:
            self._drop("the service ends")
            raise
        self._drop(f"it was not taken in {TRIES} tries")

    async def _sent(self, id: str, body: bytes) -> bool:
        """Whether somebody has taken it, or nobody wants it any more."""
        import httpx  # 5 MB that most installations do without

        if (webhook := self._webhook()) is None:
            return True
        try:
            async with self._at_once:
                self._client = self._client or httpx.AsyncClient(timeout=TIMEOUT_S)
                answer = await self._client.post(webhook.url, content=body, headers=self._headers(webhook, id, body))
        except httpx.HTTPError as error:
            log.warning("webhook not reached", extra={"error": type(error).__name__})
            return False
        if not answer.is_success:
            log.warning("webhook refused", extra={"status": answer.status_code})
        return answer.is_success

    def _headers(self, webhook: Webhook, id: str, body: bytes) -> Mapping[str, str]:
        at = str(self._clock.now_ms() // 1000)
        named = {"webhook-id": id, "webhook-timestamp": at, "webhook-signature": signature(webhook.key, id, at, body)}
        return {**named, "content-type": "application/json", "user-agent": "headrace"}

    def _drop(self, why: str) -> None:
        self._dropped()
        log.error("alert given up", extra={"why": why})


def signature(key: bytes, id: str, at: str, body: bytes) -> str:
    """at: epoch seconds."""
    digest = hmac.digest(key, b".".join((id.encode(), at.encode(), body)), "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"


def event_of(members: Mapping[str, Any]) -> Mapping[str, Any]:
    """The webhook's document. Amounts have the names of the policy's limits; money is in US dollars, a decimal string."""
    unit, limit = members["unit"], members["limit"]
    data = {
        "organisation": members["organisation"],
        "budget": members["budget"],
        "counter": members["counter"],
        "threshold": _share(members["threshold"], limit),
        "limit": _amount(unit, limit),
        "used": _amount(unit, members["used"]),
        "window": _window(members["window"]),
    }
    return {"type": "budget.threshold_reached", "timestamp": _instant(members["at_ms"]), "data": data}


def _share(threshold: int, limit: int) -> str:
    return str(round(Decimal(threshold) / Decimal(limit), 4).normalize())


def _amount(unit: Unit, amount: int) -> Mapping[str, Any]:
    return {"usd": f"{(Decimal(amount) / _NANO).normalize():f}"} if unit == "nano_usd" else {unit: amount}


def _window(window: Window) -> Mapping[str, Any]:
    match window:
        case Fixed(start_ms=start_ms, end_ms=end_ms):
            return {"from": _instant(start_ms), "to": _instant(end_ms)}
        case Sliding(length_ms=length_ms):
            return {"sliding": length_ms // 1000}
        case _:
            return {}


def _instant(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
