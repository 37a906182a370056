"""`python -m tests.bench.pii_streams`: what the filter adds to one event of a stream, no model, from chunk to chunk.

Each event is a chunk of its own, as upstreams send them; the time is from the bytes of one to the bytes of the next, through the
exchange, with the filter alone in the chain, on text with four findings every 40 words. Prints one JSON document, in microseconds
of CPU, which other processes disturb little; `parsing alone` is what any filter that reads a stream pays.
"""

import asyncio
import gc
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import thread_time_ns
from typing import Any

from headrace.ext_proc.core.events import Deliver, RequestBody, RequestHeaders, ResponseBody, ResponseHeaders
from headrace.ext_proc.core.exchange import Exchange
from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.sse import SseEvent, SseParser
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.step import step
from tests.filters.compiled import exchange_with
from tests.filters.pii.driver import event, policy

EMAIL = "jane.doe@example.com"
PROSE = (
    "The committee met on Tuesday to discuss the plan for the new library, and everyone agreed that more seating was needed. "
    "Please write to {token} before noon, or call joan.q@example.org at +1 415-555-2671; the card 4111 1111 1111 1111 is hers.\n"
)
STREAMS = 60
WORDS = 400


def begun(used: Policy) -> tuple[Exchange, str]:
    """An exchange whose answer begins, and the placeholder that the model saw."""
    it = exchange_with(used)
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": EMAIL}]}).encode()

    async def ask() -> Any:
        deadline = asyncio.get_running_loop().time() + 30
        headers = [(":method", "POST"), (":path", "/v1/chat/completions"), ("content-type", "application/json")]
        await step(it, RequestHeaders(Headers(headers)), deadline=deadline)
        answer = await step(it, RequestBody(body), deadline=deadline)
        await step(it, ResponseHeaders(200, Headers([("content-type", "text/event-stream")])), deadline=deadline)
        return answer

    answer = asyncio.run(ask())
    return it, json.loads(answer.body or body)["messages"][0]["content"]


def content(text: str) -> Any:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def arguments(text: str) -> Any:
    call = {"index": 0, "function": {"arguments": text}}
    return {"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": None}]}


def chunks(token: str, make: Callable[[str], Any]) -> Sequence[bytes]:
    """A stream of some hundred events, a word each."""
    words = (PROSE.format(token=token) * (WORDS // 30)).replace("\n", " ").split(" ")
    return [event(make(word + " ")) for word in words]


def timed(used: Policy, make: Callable[[str], Any]) -> list[int]:
    """Nanoseconds of each event of `STREAMS` streams, in order of size."""
    took: list[int] = []
    for _ in range(STREAMS):
        it, token = begun(used)
        for chunk in chunks(token, make):
            body = ResponseBody(chunk)
            started = thread_time_ns()
            it.receive(body)
            answer = it.answer()
            took.append(thread_time_ns() - started)
            assert isinstance(answer, Deliver), answer
    return sorted(took)


def parsed(make: Callable[[str], Any]) -> list[int]:
    """The same of parsing alone: what any filter that reads a stream pays for."""
    took: list[int] = []
    for _ in range(STREAMS):
        parser = SseParser()
        for chunk in chunks("<EMAIL_ADDRESS_k3f9q2ma>", make):
            started = thread_time_ns()
            for each in parser.feed(chunk):
                _ = SseEvent(each.raw).json
            took.append(thread_time_ns() - started)
    return sorted(took)


def figures(took: Sequence[int]) -> Mapping[str, float]:
    places = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}
    return {name: round(took[int(len(took) * share)] / 1000, 1) for name, share in places.items()} | {"events": len(took)}


def main() -> None:
    results: dict[str, Any] = {"parsing alone": figures(parsed(content))}
    with tempfile.TemporaryDirectory() as directory:
        for name, settings in {
            "restore": "request: replace",
            "restore and redact": "request: replace, response: redact",
        }.items():
            used = policy(Path(directory), settings)
            for kind, make in {"content": content, "tool arguments": arguments}.items():
                gc.collect()
                results[f"{name}, {kind}"] = figures(timed(used, make))
    print(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
