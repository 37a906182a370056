"""Which LLM endpoint a request asks for, and in which dialect its caller reads errors."""

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from itertools import chain, product
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
    for clean in chain([normalise(path)], _otherwise(path)):
        for suffix, endpoint in _SUFFIXES.items():
            if clean.endswith(suffix):
                return endpoint
    if "#" in path:  # to some servers it begins no fragment, but is a character as any other
        return endpoint_of(method, path.replace("#", "%23"))
    return None


def _otherwise(path: str) -> Iterator[str]:
    """Normal forms of a path with parameters or dot segments, as servers read it that do the same steps in another order."""
    path = _bare(path)
    for _ in range(_ESCAPES + 1):
        if len(path) > MAX_UNCLEAR:
            yield from (suffix for suffix in _SUFFIXES if suffix.rpartition("/")[2] in path.lower())
        elif ";" in path or ".." in path:
            for text, blank, empty in product((path, _PARAMETERS.sub("", path)), (False, True), (False, True)):
                yield _resolved(text, blank=blank, empty=empty)
        if "%" not in path:
            return
        path = unquote(path, errors="replace")


MAX_UNCLEAR = 512
"""Characters of a path of which other readings are looked for, some dozens. A longer one is what it names."""
MAX_REMEMBERED = 256
"""Characters of a path whose normal form is kept; clients choose paths, so what is kept is bounded."""


def normalise(path: str) -> str:
    """The path as a lenient upstream might read it."""
    return _remembered(path) if len(path) <= MAX_REMEMBERED else _normalise(path)


def _normalise(path: str) -> str:
    """`path` in lower case without query, fragment, escapes, doubled slashes, dot segments, `;` parameters, trailing slash."""
    plain = _bare(path)
    for _ in range(_ESCAPES):
        if "%" not in plain:
            break
        plain = unquote(plain, errors="replace")
    return _resolved(plain)


def _bare(path: str) -> str:
    return path.split("?", 1)[0].split("#", 1)[0]


def _resolved(path: str, *, blank: bool = True, empty: bool = False) -> str:
    """blank: dots are taken for dot segments with blanks around them, too. empty: a segment of parameters alone is one."""
    kept: list[str] = []
    for segment in _SLASHES.split(path.split("?", 1)[0].lower()):
        name = segment.split(";", 1)[0]
        if (name.strip() if blank else name) == "..":
            del kept[-1:]
        elif name.strip() not in ("", ".") or (empty and segment):
            kept.append(name.strip())
    return "/" + "/".join(filter(None, kept))


_remembered = lru_cache(1024)(_normalise)
