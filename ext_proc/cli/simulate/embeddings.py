"""OpenAI embeddings: vectors that depend on the text and mean nothing."""

import base64
import hashlib
import struct
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec

from .chat import error
from .completions import tokens
from .turn import Ask, Event, Turn

__all__ = ["PATH", "error", "events", "read", "whole"]

PATH = "/v1/embeddings"
DEFAULT_DIMENSIONS = 8


class _Request(msgspec.Struct):
    model: str
    input: str | list[str | int | list[int]]
    dimensions: Annotated[int, msgspec.Meta(ge=1, le=4096)] = DEFAULT_DIMENSIONS
    encoding_format: Literal["float", "base64"] = "float"

    def inputs(self) -> list[str | list[int]]:
        """A list of token ids is one input."""
        if isinstance(self.input, str):
            return [self.input]
        ids = [item for item in self.input if isinstance(item, int)]
        return [ids] if ids else [item for item in self.input if not isinstance(item, int)]


def read(body: bytes) -> Ask:
    """The request of an embedding, with its vectors prepared."""
    request = msgspec.json.decode(body, type=_Request)
    inputs = request.inputs()
    vectors = [_vector(item, request.dimensions, request.encoding_format) for item in inputs]
    return Ask(model=request.model, prompt_tokens=sum(map(tokens, inputs)), said="", choices=0, prepared=vectors)


def _vector(item: str | list[int], dimensions: int, encoding: str) -> list[float] | str:
    digest = hashlib.shake_256(repr(item).encode()).digest(dimensions)
    floats = [byte / 127.5 - 1 for byte in digest]
    return floats if encoding == "float" else base64.b64encode(struct.pack(f"<{dimensions}f", *floats)).decode()


def whole(turn: Turn) -> dict[str, object]:
    """The JSON of the vectors."""
    vectors = turn.ask.prepared
    assert isinstance(vectors, list)
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    used = {"prompt_tokens": turn.ask.prompt_tokens, "total_tokens": turn.ask.prompt_tokens}
    return {"object": "list", "data": data, "model": turn.ask.model} | ({"usage": used} if turn.script.usage else {})


def events(turn: Turn) -> Iterator[Event]:
    """Embeddings are not streamed."""
    return iter(())
