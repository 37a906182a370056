"""Callers: the official SDKs, whose bytes are noted on their way in, and raw sockets that misbehave."""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from itertools import pairwise
from random import Random
from typing import Any
from urllib.parse import urlsplit

import anthropic
import h11
import httpx2
import openai
from joserfc import jwt
from joserfc.jwk import OKPKey

from tests.soak.asks import Api, Ask, Manner
from tests.soak.bodies import body_of
from tests.soak.heard import Heard
from tests.soak.malformed import MALFORMED
from tests.soak.policy import AUDIENCE

PATIENCE_S = 90.0
"""An answer that has not ended by then is none: the longest that is asked for takes 36 s."""
HUGE_BYTES = 17 << 20
SMALL_BUFFER = 4096
DAY_S = 86_400

_now: ContextVar[Heard] = ContextVar("heard")


class Callers:
    """`async with`: asks at `url`; `ask` never raises what a gateway can cause."""

    def __init__(self, url: str, signer: OKPKey) -> None:
        self._url, self._signer = url, signer
        self._http = httpx2.AsyncClient(transport=_Noting(), timeout=PATIENCE_S)
        self._openai = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, http_client=self._http)
        self._anthropic = anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0, http_client=self._http)

    async def __aenter__(self) -> "Callers":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, ask: Ask) -> Heard:
        """From the first byte to the last, or to whatever came between."""
        heard = Heard(ask, asyncio.get_running_loop().time())
        _now.set(heard)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await (self._by_sdk(ask) if ask.manner is Manner.SDK else self._by_socket(ask, heard))
        except TimeoutError:
            heard.broke = heard.broke or "no end of the answer"
        except (openai.APIConnectionError, anthropic.APIConnectionError, httpx2.HTTPError, OSError) as error:
            heard.broke = heard.broke or repr(error.__cause__ or error)
        except (openai.APIError, anthropic.APIError) as error:
            if not heard.status:
                heard.broke = repr(error)
        except ValueError:
            pass  # no document: what was noted tells whose fault that is
        heard.ended = asyncio.get_running_loop().time()
        return heard

    async def _by_sdk(self, ask: Ask) -> None:
        token = self._token(ask)
        ours, theirs = self._openai.with_options(api_key=token), self._anthropic.with_options(api_key=token)
        call = {
            Api.CHAT: ours.chat.completions.create,
            Api.MESSAGES: theirs.messages.create,
            Api.RESPONSES: ours.responses.create,
            Api.COMPLETIONS: ours.completions.create,
            Api.EMBEDDINGS: ours.embeddings.create,
        }[ask.api]
        more: Any = {"encoding_format": "float"} if ask.api is Api.EMBEDDINGS else {}
        answer: Any = await call(**body_of(ask), **more, extra_headers=_steering(ask))  # type: ignore[operator]
        if ask.stream:
            async for _ in answer:
                pass

    def _headers(self, ask: Ask) -> dict[str, str]:
        shown = {"x-api-key": self._token(ask)} if ask.api is Api.MESSAGES else {"authorization": f"Bearer {self._token(ask)}"}
        return {**shown, **_steering(ask)}

    def _token(self, ask: Ask) -> str:
        """Its id is the request's number. A stranger's has expired, or is not signed by anybody known."""
        late = ask.manner is Manner.STRANGER and ask.number % 2
        claims: dict[str, Any] = {"aud": AUDIENCE, "org": ask.tenant.organisation, "team": ask.tenant.team, "sub": ask.tenant.user}
        claims |= {"jti": str(ask.number), "exp": int(time.time()) + (-DAY_S if late else 300 * DAY_S)}
        token = jwt.encode({"alg": "Ed25519", "kid": "soak"}, claims, self._signer, algorithms=["Ed25519"])
        return token[:-8] + "AAAAAAAA" if ask.manner is Manner.STRANGER and not late else token

    async def _by_socket(self, ask: Ask, heard: Heard) -> None:
        at = urlsplit(self._url)
        end = socket.socket()
        if ask.manner is Manner.SLOW_READER:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        end.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(end, (at.hostname, at.port))
            await _Conversation(end, ask, heard).hold(_request(ask, self._headers(ask), at.netloc))
        finally:
            end.close()


def _steering(ask: Ask) -> dict[str, str]:
    """What the pools read: whose request it is, and how to answer."""
    return {"x-number": str(ask.number), "x-simulate": ask.script}


def _request(ask: Ask, headers: Mapping[str, str], host: str) -> bytes:
    body = json.dumps(body_of(ask)).encode()
    if ask.manner is Manner.MALFORMED:
        body = MALFORMED[ask.malformed](body)
    if ask.manner is Manner.HUGE:
        body = body[:-1] + b', "x": "' + b"a" * HUGE_BYTES + b'"}'
    path = ask.api.value
    if ask.manner is Manner.OTHER_PATH:  # whose words nobody looks at
        path, body = "/v1/nothing", b'{"model": "none"}'
    named = {"host": host, "content-type": "application/json", "content-length": str(len(body)), "connection": "close", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class _Conversation:
    """One connection of one caller, as well behaved as its manner says."""

    def __init__(self, end: socket.socket, ask: Ask, heard: Heard) -> None:
        self._end, self._ask, self._heard = end, ask, heard
        self._random = Random(ask.number)
        self._loop = asyncio.get_running_loop()
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        self._got = 0

    async def hold(self, request: bytes) -> None:
        """Asks and reads side by side: a gateway may refuse what it has not read to its end."""
        asking = asyncio.create_task(self._send(request))
        self._http.send(h11.Request(method="POST", target="/", headers=[("host", "x"), ("content-length", "0")]))
        self._http.send(h11.EndOfMessage())
        try:
            await self._read(asking)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _send(self, request: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            for piece in self._pieces(request):
                await self._loop.sock_sendall(self._end, piece)
                if self._ask.manner is Manner.SLOW_WRITER:
                    await asyncio.sleep(self._random.random() * 0.1)
        if self._ask.manner is Manner.LEAVES_ASKING:
            self._heard.left = True
            self._end.shutdown(socket.SHUT_RDWR)

    def _pieces(self, request: bytes) -> list[bytes]:
        if self._ask.manner is Manner.LEAVES_ASKING:
            return [request[: max(1, int(len(request) * self._ask.leaves_at))]]
        if self._ask.manner is not Manner.SLOW_WRITER:
            return [request]
        cuts = sorted({0, len(request), *(self._random.randrange(len(request)) for _ in range(8))})
        return [request[start:stop] for start, stop in pairwise(cuts)]

    async def _read(self, asking: "asyncio.Task[None]") -> None:
        room = 2048 if self._ask.manner is Manner.SLOW_READER else 65_536
        most = int(3000 * self._ask.leaves_at) + 1 if self._ask.manner is Manner.LEAVES_READING else None
        while True:
            data = await self._loop.sock_recv(self._end, min(room, most - self._got) if most else room)
            self._got += len(data)
            if self._note(data) or not data:
                return
            if most and self._got >= most:
                self._heard.left = True
                return
            if self._ask.manner is Manner.SLOW_READER:
                await asyncio.sleep(0.01)

    def _note(self, data: bytes) -> bool:
        """Whether the answer has ended. What is cut short raises ConnectionError, unless the caller itself left."""
        try:
            self._http.receive_data(data)
            while (event := self._http.next_event()) not in (h11.NEED_DATA, h11.PAUSED):
                if isinstance(event, h11.Response):
                    _begins(self._heard, event.status_code, {name.decode(): value.decode() for name, value in event.headers})
                elif isinstance(event, h11.Data):
                    self._heard.body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    self._heard.complete = True
                    return True
                elif isinstance(event, h11.ConnectionClosed):
                    break
        except h11.RemoteProtocolError as error:
            if self._heard.left:
                return True
            raise ConnectionError(str(error)) from None
        return False


def _begins(heard: Heard, status: int, headers: Mapping[str, str]) -> None:
    heard.status, heard.headers = status, dict(headers)


class _Noting(httpx2.AsyncBaseTransport):
    """Notes what comes before an SDK reads it."""

    def __init__(self) -> None:
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=20)
        self._inner = httpx2.AsyncHTTPTransport(limits=limits)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            answer = await self._inner.handle_async_request(request)
        except AttributeError as error:  # anyio's, of a connection that is gone before it has asked whose it is
            raise httpx2.ConnectError(str(error)) from error
        heard = _now.get()
        _begins(heard, answer.status_code, answer.headers)
        assert isinstance(answer.stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            answer.status_code, headers=answer.headers, stream=_Noted(answer.stream, heard), extensions=answer.extensions
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Noted(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, heard: Heard) -> None:
        self._inner, self._heard = inner, heard

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for data in self._inner:
            self._heard.body += data
            yield data
        self._heard.complete = True

    async def aclose(self) -> None:
        await self._inner.aclose()
