"""One request to the console as a server hands it over, byte for byte, and what its answer may have."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any
from urllib.parse import unquote

from starlette.types import ASGIApp, Message

Pairs = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Asked:
    """path: as it is sent, percent-encoded. chunks: of the body."""

    method: str
    path: bytes
    query: bytes = b""
    headers: Pairs = ()
    chunks: Sequence[bytes] = ()


@dataclass
class Answered:
    """headers: by their lower-case names; of two, the last."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def answer_of(app: ASGIApp, asked: Asked) -> Answered:
    """Raises what the application raises, besides its answer to it."""
    answered = Answered()
    chunks = list(asked.chunks)

    async def receive() -> Message:
        if not chunks:
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answered.status = message["status"]
            answered.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
        else:
            answered.body += message.get("body", b"")

    await app(_scope(asked), receive, send)
    return answered


def _scope(asked: Asked) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": asked.method, "scheme": "http",
        "path": unquote(asked.path.decode("ascii")), "raw_path": asked.path, "root_path": "", "query_string": asked.query,
        "headers": [(b"host", b"admin"), *asked.headers], "client": ("127.0.0.1", 1), "server": ("admin", 80),
    }  # fmt: skip


# --- what an answer may have -----------------------------------------------------------------------------------------------------


class Markup(HTMLParser):
    """What a page is made of. words: outside of tags. forms: each with its method, its action and the names of its fields."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.addresses: set[str] = set()
        self.titles: list[str] = []
        self.forms: list[tuple[str, str, set[str]]] = []
        self._in_title = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        given = {name: value or "" for name, value in attributes}
        self.attributes |= given.keys()
        self.addresses |= {value for name, value in given.items() if name in _ADDRESSES}
        self._in_title = tag == "h1"
        if tag == "form":
            self.forms.append((given.get("method", "get").upper(), given.get("action", ""), set()))
        elif "name" in given and tag in ("input", "select", "textarea", "button") and self.forms:
            self.forms[-1][2].add(given["name"])

    def handle_endtag(self, tag: str) -> None:
        self._in_title = self._in_title and tag != "h1"

    def handle_data(self, data: str) -> None:
        if self._in_title:
            self.titles.append(data.strip())


_ADDRESSES = frozenset({"href", "src", "action", "formaction", "hx-get", "hx-post"})


def ours() -> tuple[set[str], set[str]]:
    """The tags and attributes that the templates themselves are written in."""
    text = "\n".join(
        each.read_text() for each in files("headrace.ext_proc.admin.console").joinpath("templates").iterdir() if each.is_file()
    )
    tags = {tag.lower() for tag in re.findall(r"<([a-zA-Z][a-zA-Z0-9]*)", text)}
    return tags, {name.lower() for name in re.findall(r"[\s\"}]([a-zA-Z][a-zA-Z0-9-]*)(?==[\"']|[\s>{%])", text)}
