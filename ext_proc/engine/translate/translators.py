"""The two directions, each as one value: where the request goes, and what becomes of it and of its answer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from headrace.ext_proc.core.endpoint import Dialect, Endpoint
from headrace.ext_proc.engine.translate import answers, requests, streams
from headrace.ext_proc.engine.translate.values import Document, mapping


class Requests(Protocol):
    def __call__(self, document: Mapping[str, Any], efforts: Sequence[str] = ()) -> Document:
        """efforts: those that the model takes. Raises Untranslatable."""
        ...


@dataclass(frozen=True, slots=True)
class Translator:
    """path: of the other API's endpoint. `stream` is given the caller's request.

    request_id: the headers in which the caller's API and the other one name a request to whoever asks about it.
    """

    path: str
    request: Requests
    answer: Callable[[Mapping[str, Any], int], Document]
    error: Callable[[Mapping[str, Any], int], Document]
    stream: Callable[[Mapping[str, Any], int], streams.Stream]
    request_id: tuple[str, str]


def _asks_for_usage(request: Mapping[str, Any]) -> bool:
    return bool(mapping(request.get("stream_options")).get("include_usage"))


TO_ANTHROPIC: Final = Translator(
    path="/v1/messages",
    request=requests.to_anthropic,
    answer=answers.to_openai,
    error=lambda document, _: answers.error_to_openai(document),
    stream=lambda request, created: streams.ToOpenAI(created, with_usage=_asks_for_usage(request)),
    request_id=("x-request-id", "request-id"),
)
"""For callers of OpenAI's chat completions."""

TO_OPENAI: Final = Translator(
    path="/v1/chat/completions",
    request=requests.to_openai,
    answer=lambda document, _: answers.to_anthropic(document),
    error=answers.error_to_anthropic,
    stream=lambda _, __: streams.ToAnthropic(),
    request_id=("request-id", "x-request-id"),
)
"""For callers of Anthropic's messages."""


def translator_for(endpoint: Endpoint | None, dialect: Dialect | None) -> Translator | None:
    """None where an upstream of this dialect takes the request as it is, or there is no way to ask it."""
    if endpoint is Endpoint.CHAT and dialect is Dialect.ANTHROPIC:
        return TO_ANTHROPIC
    if endpoint is Endpoint.MESSAGES and dialect is Dialect.OPENAI:
        return TO_OPENAI
    return None
