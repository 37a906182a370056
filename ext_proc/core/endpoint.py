"""Which LLM endpoint a request asks for, and in which dialect its caller reads errors."""

import re
from collections.abc import Iterator
from enum import Enum
from functools import lru_cache
from itertools import chain, product
from urllib.parse import quote, unquote


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
    MESSAGES_COUNT = "messages.count"
    RESPONSES_COUNT = "responses.count"

    __hash__ = object.__hash__  # a member is itself; enum's own hash of its name is Python

    @property
    def dialect(self) -> Dialect:
        return Dialect.ANTHROPIC if self in _ANTHROPICS else Dialect.OPENAI

    @property
    def counts(self) -> bool:
        """Whether it asks how many tokens a prompt has, for which providers take nothing."""
        return self in _COUNTS

    @property
    def has_answer(self) -> bool:
        """Whether a model writes tokens for it."""
        return self is not Endpoint.EMBEDDINGS and self not in _COUNTS


_ANTHROPICS = frozenset({Endpoint.MESSAGES, Endpoint.MESSAGES_COUNT})
_COUNTS = frozenset({Endpoint.MESSAGES_COUNT, Endpoint.RESPONSES_COUNT})
_SUFFIXES = {
    "/chat/completions": Endpoint.CHAT,
    "/completions": Endpoint.COMPLETIONS,
    "/embeddings": Endpoint.EMBEDDINGS,
    "/responses": Endpoint.RESPONSES,
    "/responses/compact": Endpoint.RESPONSES,  # the same members, and an answer with usage
    "/responses/input_tokens": Endpoint.RESPONSES_COUNT,
    "/v1/messages": Endpoint.MESSAGES,  # OpenAI has /threads/{id}/messages
    "/v1/messages/count_tokens": Endpoint.MESSAGES_COUNT,
}
_SLASHES = re.compile(r"[/\\]+")
_PARAMETERS = re.compile(r";[^/\\?#]*")
_DROPPED = dict.fromkeys(map(ord, "\t\r\n"))
"""Parsers of URLs, WHATWG's and Python's, read a path as if these were not there."""
_ESCAPES = 3
"""An escape of an escape of an escape is nobody's path."""


_READING = frozenset({"GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT"})
"""Methods that bring no prompt, as long as no body comes with them."""


def endpoint_of(method: str, path: str, *, has_body: bool = False) -> Endpoint | None:
    """The endpoint of a request line, or None. has_body: a body follows.

    Model servers are called with POST. One that looks at no method, or at none's capitals, answers any other that brings a prompt.
    Any prefix before the suffix counts (`/v1`, `/openai/v1`, `/openai/deployments/x`), and every spelling that a lenient upstream
    might take for the same path (doubled slashes, escapes, a trailing slash, capitals, path parameters). Neither a method nor a
    spelling must be a way past the filters.
    """
    if method in _READING and not has_body:
        return None
    counting = None
    for clean in chain([normalise(path)], _otherwise(path)):
        if (found := _named(clean)) is not None:
            if not found.counts:
                return found
            counting = found  # unless another reading of the path has a model write
    if "#" in path:  # to some servers it begins no fragment, but is a character as any other
        return endpoint_of(method, path.replace("#", "%23"), has_body=has_body) or counting
    return counting


def _named(clean: str) -> Endpoint | None:
    return next((endpoint for suffix, endpoint in _SUFFIXES.items() if clean.endswith(suffix)), None)


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
    return _resolved(_unescaped(_bare(path)))


def _bare(path: str) -> str:
    return path.split("?", 1)[0].split("#", 1)[0]


def _resolved(path: str, *, blank: bool = True, empty: bool = False) -> str:
    """blank: dots are taken for dot segments with blanks around them, too. empty: a segment of parameters alone is one."""
    kept: list[str] = []
    for segment in _SLASHES.split(path.split("?", 1)[0].lower().translate(_DROPPED)):
        name = segment.split(";", 1)[0]
        if (name.strip() if blank else name) == "..":
            del kept[-1:]
        elif name.strip() not in ("", ".") or (empty and segment):
            kept.append(name.strip())
    return "/" + "/".join(filter(None, kept))


_remembered = lru_cache(1024)(_normalise)


def plain_of(path: str) -> str | None:
    """The path's normal form, where every server reads it so; None where some may read another path in it."""
    unescaped = _unescaped(path.split("?", 1)[0])
    unclear = ".." in unescaped or _READ_DIFFERENTLY & set(unescaped) or not unescaped.isprintable()
    return None if unclear else normalise(path)


_READ_DIFFERENTLY = frozenset("%\\;?#\ufffd")
_DEPLOYMENT = re.compile(
    r"((?:(?:/[\w.~-]+)*/openai)?/deployments/)([\w.~:@+,%-]+)"
    r"(/(?:chat/completions|completions|embeddings|responses(?:/compact|/input_tokens)?)/?)",
    re.ASCII | re.IGNORECASE,
)
_PLAIN = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[\w.~:@+,%-]+)+/?", re.ASCII)
_UNCLEAR = _READ_DIFFERENTLY | {"/"}


def deployment_of(path: str) -> str | None:
    """The deployment that a path of Azure's names (`/openai/deployments/{deployment}/…`); Azure serves it whatever the body says.

    None for other paths; "" for a spelling that servers may read as different names.
    """
    bare = _bare(path)
    unescaped = _unescaped(bare).lower()
    if "deployments" not in unescaped:
        return None
    plain = _PLAIN.fullmatch(bare) is not None
    if plain and (found := _DEPLOYMENT.fullmatch(bare)):
        name = unquote(found[2], errors="replace")
        return "" if name in (".", "..") or _UNCLEAR & set(name) else name
    return None if plain and "%" not in bare and "openai/deployments/" not in unescaped else ""


def with_deployment(path: str, name: str) -> str:
    """The path with this deployment, where it names another one."""
    if deployment_of(path) in (None, "", name):
        return path
    bare = _bare(path)
    return _DEPLOYMENT.sub(lambda found: found[1] + quote(name, safe="") + found[3], bare) + path[len(bare) :]


def _unescaped(path: str) -> str:
    for _ in range(_ESCAPES):
        if "%" not in path:
            break
        path = unquote(path, errors="replace")
    return path
