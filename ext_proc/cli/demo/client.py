"""The application of the demo: the OpenAI SDK, with a base URL and a key. It knows nothing of Headrace."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

import openai
from openai.types.chat import ChatCompletion

from .scenes import Scene

MARK = "x-demo-request"
"""A header of the application's own: by it the request is found again in the pools' books."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the application saw. text: the answer, or the error's message. sent: the body, as the SDK sent it.

    first_ms and total_ms: from the call to the first piece of the answer, and to its end.
    """

    number: int
    status: int
    headers: Mapping[str, str]
    sent: bytes
    text: str
    total_ms: float
    first_ms: float | None = None
    code: str = ""
    usage: Mapping[str, int] = field(default_factory=dict)

    @property
    def exchange(self) -> str:
        """Headrace's id of the exchange; empty if there is none."""
        return self.headers.get("x-headrace-exchange", "")


class Application:
    """Chats through the gateway at `url`."""

    def __init__(self, url: str, secrets: Mapping[str, str]) -> None:
        self._secrets = secrets
        loopback = openai.DefaultAsyncHttpxClient(trust_env=False)  # a proxy of the environment is not for loopback
        self._client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=60, http_client=loopback)
        self._number = 0

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def send(self, scene: Scene) -> Seen:
        """Raises openai.APIConnectionError when there is no answer at all."""
        self._number += 1
        number, started = self._number, perf_counter()
        client = self._client.with_options(api_key=self._secrets.get(scene.caller, "hr-nobody-issued-this-key"))
        headers = {MARK: str(number), "x-simulate": scene.script}
        try:
            if scene.stream:
                return await _stream(client, scene, headers, number, started)
            return await _whole(client, scene, headers, number, started)
        except openai.APIStatusError as error:
            return _refused(error, number, started)


async def _whole(client: openai.AsyncOpenAI, scene: Scene, headers: dict[str, str], number: int, started: float) -> Seen:
    raw = await client.chat.completions.with_raw_response.create(
        model=scene.model,
        messages=[{"role": "user", "content": scene.prompt}],
        max_tokens=scene.max_tokens,
        extra_headers=headers,
    )
    answer = raw.parse()
    text = answer.choices[0].message.content or ""
    return Seen(number, raw.status_code, _plain(raw.headers), raw.http_request.content, text, _since(started), usage=_usage(answer))


async def _stream(client: openai.AsyncOpenAI, scene: Scene, headers: dict[str, str], number: int, started: float) -> Seen:
    raw = await client.chat.completions.with_raw_response.create(
        model=scene.model,
        messages=[{"role": "user", "content": scene.prompt}],
        max_tokens=scene.max_tokens,
        stream=True,
        extra_headers=headers,
    )
    pieces: list[str] = []
    first: float | None = None
    async for chunk in raw.parse():
        if chunk.choices and chunk.choices[0].delta.content:
            first = _since(started) if first is None else first
            pieces.append(chunk.choices[0].delta.content)
    return Seen(
        number, raw.status_code, _plain(raw.headers), raw.http_request.content, "".join(pieces), _since(started), first_ms=first
    )


def _refused(error: openai.APIStatusError, number: int, started: float) -> Seen:
    told = error.body if isinstance(error.body, dict) else {}
    message = str(told.get("message", error.message))
    headers = _plain(error.response.headers)
    body = error.request.content
    return Seen(number, error.status_code, headers, body, message, _since(started), code=str(told.get("code") or ""))


def _usage(answer: ChatCompletion) -> dict[str, int]:
    if answer.usage is None:
        return {}
    return {"prompt_tokens": answer.usage.prompt_tokens, "completion_tokens": answer.usage.completion_tokens}


def _plain(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _since(started: float) -> float:
    return (perf_counter() - started) * 1000
