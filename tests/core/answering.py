"""What tests of answers share."""

import json
from typing import Any

from headrace.ext_proc.core.effects import Outcome
from headrace.ext_proc.core.events import Answer, Deliver, ResponseBody
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.session import Link
from tests.kit import (
    ScriptedFilter,
    body,
    exchange_of,
    filter_of,
    post,
    told,
)

USAGE = {"prompt_tokens": 3, "completion_tokens": 4}
ANSWER = {"id": "a", "usage": USAGE}


def reads(**script: Any) -> ScriptedFilter:
    """A filter that needs the answer, whole or streamed."""
    return filter_of(needs=Needs.REQUEST_BODY | Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM, **script)


async def asked(*filters: ScriptedFilter | Link, path: str = "/v1/chat/completions") -> Exchange:
    """An exchange whose request has been sent on."""
    exchange = exchange_of(*filters)
    await told(exchange, post(path), body({"model": "m", "messages": [], "max_tokens": 1}))
    return exchange


def whole(document: Any, *, end: bool = True) -> ResponseBody:
    return ResponseBody(document if isinstance(document, bytes) else json.dumps(document).encode(), end)


def delivered(answer: Answer) -> Deliver:
    assert isinstance(answer, Deliver), answer
    return answer


def outcome(exchange: Exchange, filter: ScriptedFilter) -> Outcome:
    exchange.close()
    (found,) = filter.session.outcomes
    return found
