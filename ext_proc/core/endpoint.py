"""Which LLM endpoint a request asks for, and in which dialect its caller reads errors."""

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from urllib.parse import unquote


class Dialect(Enum):
    """Whose error format the caller understands."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Endpoint(Enum):
    """The requests Headrace understands. Anything else passes, or is refused, as the policy says."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RESPONSES = "responses"
    MESSAGES = "messages"

    __hash__ = object.__hash__  # a member is itself; enum's own hash of its name is Python

    @property
    def dialect(self) -> Dialect:
        return Dialect.ANTHROPIC if self is Endpoint.MESSAGES else Dialect.OPENAI


_SUFFIXES = {
    "/chat/completions": Endpoint.CHAT,
    "/completions": Endpoint.COMPLETIONS,
    "/embeddings": Endpoint.EMBEDDINGS,
    "/responses": Endpoint.RESPONSES,
    "/v1/messages": Endpoint.MESSAGES,  # OpenAI has /threads/{id}/messages
}
_SLASHES = re.compile(r"[/\\]+")
_PARAMETERS = re.compile(r";[^/\\?#]*")
_ESCAPES = 3
"""An escape of an escape of an escape is nobody's path."""


def endpoint_of(method: str, path: str) -> Endpoint | None:
    """The endpoint of a request line, or None.

    Any prefix before the suffix counts (`/v1`, `/openai/v1`, `/openai/deployments/x`), and every spelling that a lenient upstream
    might take for the same path (doubled slashes, escapes, a trailing slash, capitals, path parameters): a spelling must not be
    a way past the filters.
    """
    if method != "POST":
        return None
    for reading in _readings(path):
        clean = normalise(reading)
        for suffix, endpoint in _SUFFIXES.items():
            if clean.endswith(suffix):
                return endpoint
    if "#" in path:  # to some servers it begins no fragment, but is a character as any other
        return endpoint_of(method, path.replace("#", "%23"))
    return None


def _readings(path: str) -> Iterator[str]:
    """The path, and what is left of it where parameters go before escapes are resolved: theirs may hold a slash."""
    yield path
    for _ in range(_ESCAPES):
        if ";" in path:
            yield _PARAMETERS.sub("", path)
        if "%" not in path:
            return
        path = unquote(path, errors="replace")


MAX_REMEMBERED = 256
"""Characters of a path whose normal form is kept; clients choose paths, so what is kept is bounded."""


def normalise(path: str) -> str:
    """The path as a lenient upstream might read it."""
    return _remembered(path) if len(path) <= MAX_REMEMBERED else _normalise(path)


def _normalise(path: str) -> str:
    """`path` in lower case without query, fragment, escapes, doubled slashes, dot segments, `;` parameters, trailing slash."""
    plain = path.split("?", 1)[0].split("#", 1)[0]
    for _ in range(_ESCAPES):
        if "%" not in plain:
            break
        plain = unquote(plain, errors="replace")
    kept: list[str] = []
    for segment in _SLASHES.split(plain.split("?", 1)[0].lower()):
        name = segment.split(";", 1)[0].strip()
        if name == "..":
            del kept[-1:]
        elif name not in ("", "."):
            kept.append(name)
    return "/" + "/".join(kept)


_remembered = lru_cache(1024)(_normalise)
