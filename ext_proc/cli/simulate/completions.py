"""OpenAI's legacy text completions."""

from collections.abc import Iterator
from itertools import zip_longest

import msgspec

from . import words
from .chat import StreamOptions, error, finish_reason, usage
from .turn import Ask, Event, Turn, Usage, sse

__all__ = ["PATH", "error", "events", "read", "whole"]

PATH = "/v1/completions"


class _Request(msgspec.Struct):
    model: str
    prompt: str | list[str | int | list[int]]
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: int | None = None
    n: int | None = None


def read(body: bytes) -> Ask:
    """The request of a completion. Several prompts give one choice each and `n`; token ids count one each."""
    request = msgspec.json.decode(body, type=_Request)
    prompts = [request.prompt] if isinstance(request.prompt, str) else request.prompt
    many = 1 if prompts and isinstance(prompts[0], int) else len(prompts)
    return Ask(
        model=request.model,
        prompt_tokens=sum(map(tokens, prompts)),
        said=next((prompt for prompt in prompts if isinstance(prompt, str)), ""),
        cap=request.max_tokens,
        choices=(request.n or 1) * many,
        stream=request.stream,
        usage=(request.stream_options or StreamOptions()).usage(),
    )


def tokens(item: str | int | list[int]) -> int:
    """Tokens of one input: a text, a token id, or several."""
    if isinstance(item, str):
        return words.count(item)
    return len(item) if isinstance(item, list) else 1


def whole(turn: Turn) -> dict[str, object]:
    """The JSON of the whole answer."""
    choices = [_choice(at, words.join(answer.content), finish_reason(answer)) for at, answer in enumerate(turn.answers)]
    return _head(turn) | {"choices": choices} | ({"usage": usage(turn, turn.tokens)} if turn.script.usage else {})


def _head(turn: Turn) -> dict[str, object]:
    return {"id": f"cmpl-{turn.ident}", "object": "text_completion", "created": turn.created, "model": turn.ask.model}


def _choice(index: int, text: str, finish: str | None) -> dict[str, object]:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def events(turn: Turn) -> Iterator[Event]:
    """The answer as chunks, one per token and choice, the choices taking turns."""
    written = 0
    for round_ in zip_longest(*(answer.content for answer in turn.answers)):
        for index, piece in enumerate(round_):
            if piece is not None:
                written += piece.tokens
                yield Event(_chunk(turn, [_choice(index, piece.text, None)], _running(turn, written)), piece.tokens)
    for index, answer in enumerate(turn.answers):
        yield Event(_chunk(turn, [_choice(index, "", finish_reason(answer))], _running(turn, written)))
    if turn.script.usage and turn.ask.usage is not Usage.NEVER:
        yield Event(_chunk(turn, [], {"usage": usage(turn, written)}))
    yield Event(b"data: [DONE]\n\n")


def _chunk(turn: Turn, choices: list[dict[str, object]], told: dict[str, object]) -> bytes:
    return sse(_head(turn) | {"choices": choices} | told)


def _running(turn: Turn, written: int) -> dict[str, object]:
    return {"usage": usage(turn, written)} if turn.script.usage and turn.ask.usage is Usage.EVERY else {}
