"""A model server: repeats what it was told, remembers what others told it, miscounts, makes personal data up, and dies."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.simulation.chance import Lane
from tests.simulation.story import Answered, Story

TOKEN = re.compile(r"<[A-Z_]+_[a-z2-7]{8}>")
FAILURES = (0, 400, 429, 500, 503)
REMEMBERED = 8
BEFORE = (", said ", ". Ask ", "\n", " ")
AFTER = (" again", ".", "", ", then")


class Upstream:
    """All servers behind the gateway."""

    def __init__(self) -> None:
        self._heard: list[str] = []
        """Placeholders of the last prompts, whosever they are."""

    def answer(self, story: Story, body: bytes, lane: Lane) -> Answered:
        """What it is going to say to `body`."""
        weather = story.weather
        tokens = tuple(dict.fromkeys(TOKEN.findall(body.decode("utf-8", "replace"))))
        failure = FAILURES[lane.pick(len(FAILURES), weather.upstreams / 2, "the upstream refuses")]
        if failure:
            document = {"error": {"message": "no", "type": "server_error", "code": None, "param": None}}
            return Answered(failure, "application/json", [json.dumps(document).encode()], None, 0)
        foreign = self._foreign(lane)
        finding = f"made.up{story.number}@invented{story.number}.com" if lane.happens(0.3, "makes an address up") else ""
        self._heard = [*self._heard, *tokens][-REMEMBERED:]
        said = _said(lane, [*tokens, foreign, finding])
        usage = _usage(story, lane)
        pieces = _stream(story, said, usage, lane) if story.plan.stream else [_whole(story, said, usage)]
        whole = b"".join(pieces)
        if lane.happens(weather.upstreams / 3, "talks nonsense"):
            whole, usage = _garbled(whole, lane), None
        usage_at = len(whole) if not story.plan.stream else _end_of_usage(whole)
        dies = lane.happens(weather.upstreams, "the upstream dies")
        chunks = list(_cut(whole, lane))
        kept = chunks[: lane.among(len(chunks), "after chunks")] if dies else chunks
        content_type = "text/event-stream" if story.plan.stream else "application/json"
        return Answered(200, content_type, kept, usage, usage_at, tokens, finding, dies)

    def _foreign(self, lane: Lane) -> str:
        """A placeholder of some prompt, or nothing."""
        if not (self._heard and lane.happens(0.2, "repeats another's token")):
            return ""
        return self._heard[lane.among(len(self._heard), "which")]


def _garbled(whole: bytes, lane: Lane) -> bytes:
    """No JSON from some place on, or no text, or the same thing for ever."""
    at = lane.among(len(whole), "from")
    nonsense = (b"}{", b"\xff\xfe", b"data: {]\n\n" * 40)[lane.among(3, "nonsense")]
    return whole[:at] + nonsense + whole[at:].replace(b'"usage"', b'"used"')


def _said(lane: Lane, words: list[str]) -> str:
    text = "So it turns and turns"
    for word in filter(None, words):
        text += BEFORE[lane.among(len(BEFORE), "before")] + word + AFTER[lane.among(len(AFTER), "after")]
    return text + (". " + "It is ground by the mill " * lane.among(6, "more words"))


def _usage(story: Story, lane: Lane) -> tuple[int, int] | None:
    if lane.happens(story.weather.upstreams / 2, "reports no usage"):
        return None
    given = 1 + lane.among(story.plan.max_tokens, "answer's tokens")
    if lane.happens(story.weather.upstreams / 2, "says more than it may"):
        given += 100
    return 10 + lane.among(40, "prompt's tokens"), given


def _members(story: Story, usage: tuple[int, int]) -> dict[str, int]:
    names = ("input_tokens", "output_tokens") if story.plan.kind == "messages" else ("prompt_tokens", "completion_tokens")
    return dict(zip(names, usage, strict=True))


def _whole(story: Story, said: str, usage: tuple[int, int] | None) -> bytes:
    told: dict[str, Any] = {} if usage is None else {"usage": _members(story, usage)}
    match story.plan.kind:
        case "messages":
            text = {"type": "text", "text": said}
            document: dict[str, Any] = {"type": "message", "role": "assistant", "content": [text], "stop_reason": "end_turn"}
        case "embeddings":
            document = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}]}
        case _:
            message = {"role": "assistant", "content": said}
            document = {"object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    return json.dumps({"id": "a", "model": "m", **document, **told}).encode()


def _stream(story: Story, said: str, usage: tuple[int, int] | None, lane: Lane) -> list[bytes]:
    pieces = [piece for piece in _pieces(said, lane) if piece]
    return list(_anthropic(story, pieces, usage) if story.plan.kind == "messages" else _openai(story, pieces, usage))


def _pieces(said: str, lane: Lane) -> Iterator[str]:
    size = 1 + lane.among(24, "a delta's length")
    for at in range(0, len(said), size):
        yield said[at : at + size]


def _openai(story: Story, pieces: list[str], usage: tuple[int, int] | None) -> Iterator[bytes]:
    for piece in pieces:
        yield _event({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": piece}}]})
    yield _event({"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage is not None:
        yield _event({"object": "chat.completion.chunk", "choices": [], "usage": _members(story, usage)})
    yield b"data: [DONE]\n\n"


def _anthropic(story: Story, pieces: list[str], usage: tuple[int, int] | None) -> Iterator[bytes]:
    prompt, answer = usage or (0, 0)
    told: dict[str, Any] = {} if usage is None else {"usage": {"input_tokens": prompt, "output_tokens": 1}}
    yield _named("message_start", {"message": {"id": "a", "role": "assistant", "content": [], **told}})
    yield _named("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
    for piece in pieces:
        yield _named("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": piece}})
    yield _named("content_block_stop", {"index": 0})
    told = {} if usage is None else {"usage": {"output_tokens": answer}}
    yield _named("message_delta", {"delta": {"stop_reason": "end_turn"}, **told})
    yield _named("message_stop", {})


def _event(document: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _named(name: str, document: dict[str, Any]) -> bytes:
    return f"event: {name}\n".encode() + _event({"type": name, **document})


def _end_of_usage(stream: bytes) -> int:
    return stream.find(b"\n\n", stream.rfind(b'"usage"')) + 2


def _cut(data: bytes, lane: Lane) -> Iterator[bytes]:
    """Anywhere, in at most some forty pieces: what a piece costs is what the run costs."""
    size = max(1, len(data) // 40, lane.among(600, "a chunk's length"))
    if lane.happens(0.3, "in one piece"):
        size = len(data)
    for at in range(0, len(data), size):
        yield data[at : at + size]
