"""What every lens returns, and the checked access to members they share."""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec import Struct

from headrace.ext_proc.core.errors import BodyError

MAX_CHOICES = 128
"""OpenAI's limit for `n`; more would let one request reserve (or overflow) without bound."""


class Prompt(Struct, frozen=True):
    """What is to be counted: the tokens of `texts`, plus `overhead` tokens that the API's own formula adds.

    exact is False where the formula is not published (tools, images, Claude): the count is an estimate. chat: the body of a chat
    that OpenAI's formula has framed, None for anything else; other models' templates frame it otherwise.
    """

    texts: tuple[str, ...]
    overhead: int
    exact: bool = True
    chat: dict[str, Any] | None = None


class Other(NamedTuple):
    """A model that is named in the member `param`."""

    param: str
    model: str


class Call(Struct, frozen=True):
    """One call of a model.

    output_cap: tokens per choice that the request allows, None where it names no cap. choices: answers asked for.
    include_usage: what a streamed request says of its usage event; None where it says nothing; True where the API always sends it.
    others: models beside it that the provider may ask by itself. beside: whether the sums of its usage may leave tokens out.
    """

    model: str
    stream: bool
    output_cap: int | None
    choices: int
    prompt: Prompt
    include_usage: bool | None = True
    others: tuple[Other, ...] = ()
    beside: bool = False


def invalid(param: str, expected: str) -> BodyError:
    return BodyError("body.invalid", f"'{param}' must be {expected}", param=param)


def model_of(document: dict[str, Any]) -> str:
    model = document.get("model")
    if not isinstance(model, str) or not model or not model.isprintable():  # it goes into headers, metadata and logs
        raise invalid("model", "the name of a model")
    return model


def stream_of(document: dict[str, Any]) -> bool:
    stream = document.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise invalid("stream", "true or false")
    return bool(stream)


def cap_of(document: dict[str, Any], *names: str, least: int = 1) -> int | None:
    """The largest of the named caps that the request gives: which of two an upstream obeys is not ours to guess.

    llama.cpp obeys its own `n_predict` before any of them; below 0 it is no cap.
    """
    own = document.get("n_predict")
    if isinstance(own, int) and own < 0:
        return None
    caps = [count_of(document, name, 2**31, least) for name in names if document.get(name) is not None]
    if own is not None:
        caps.append(count_of(document, "n_predict", 2**31, 0))
    return max(caps, default=None)


def count_of(document: dict[str, Any], name: str, most: int, least: int = 1) -> int:
    """A whole number from `least` to `most`; 1 where the member is absent."""
    value = document.get(name)
    if value is None:
        return 1
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise invalid(name, f"a whole number from {least} to {most}")
    return value


def include_usage_of(document: dict[str, Any]) -> bool | None:
    options = document.get("stream_options")
    if options is None:
        return None
    if not isinstance(options, dict):
        raise invalid("stream_options", "an object")
    asked = options.get("include_usage")
    if asked is not None and not isinstance(asked, bool):
        raise invalid("stream_options.include_usage", "true or false")
    return asked


def objects_of(document: dict[str, Any], name: str) -> Sequence[dict[str, Any]]:
    """A member that must be a list of objects."""
    value = document.get(name)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid(name, "a list of objects")
    return value


IMAGE_TOKENS = 765
"""A 1024 × 1024 image at high detail (https://platform.openai.com/docs/guides/images-vision); without its pixels, an estimate."""
LOW_IMAGE_TOKENS = 85
_IMAGES = ("image_url", "input_image", "image")
_TEXTS = (None, "text", "input_text", "output_text")


class Texts:
    """Gathers what is to be counted."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self.overhead = 0
        self._exact = True

    def text(self, value: Any) -> None:
        """A string that the API's formula counts as it is; anything else is counted as its JSON, an estimate."""
        if isinstance(value, str):
            self._texts.append(value)
        elif value is not None:
            self.estimate(json.dumps(value))

    def estimate(self, text: str = "", tokens: int = 0) -> None:
        """Text or tokens whose part in the real prompt is not published."""
        self._exact = False
        self.overhead += tokens
        if text:
            self._texts.append(text)

    def part(self, part: Any) -> None:
        """One content part of an OpenAI or Anthropic message: text as it is, images by table, anything else as its JSON.

        The type decides, as it does upstream: an image with a `text` beside it is an image.
        """
        if not isinstance(part, dict):
            self.text(part)
        elif part.get("type") in _IMAGES:
            self._image(part)
        elif part.get("type") in _TEXTS and isinstance(part.get("text"), str):
            self.text(part["text"])
        elif part.get("type") == "tool_result" and isinstance(part.get("content"), list):
            self.estimate(json.dumps({name: value for name, value in part.items() if name != "content"}))
            self.content(part["content"], "")
        else:
            self.estimate(json.dumps(part))

    def _image(self, part: dict[str, Any]) -> None:
        holder = part["image_url"] if isinstance(part.get("image_url"), dict) else part
        self.estimate(tokens=LOW_IMAGE_TOKENS if holder.get("detail") == "low" else IMAGE_TOKENS)

    def content(self, content: Any, param: str) -> None:
        """A message's content: a string, a list of parts, or nothing."""
        if isinstance(content, list):
            for part in content:
                self.part(part)
        elif content is None or isinstance(content, str):
            self.text(content)
        else:
            raise invalid(param, "a string or a list of parts")

    def prompt(self, chat: dict[str, Any] | None = None) -> Prompt:
        return Prompt(tuple(self._texts), self.overhead, self._exact, chat)
