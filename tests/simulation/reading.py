"""An answer as a client of either dialect reads it."""

import json
import re
from typing import Any

_PERSONAL = re.compile(r"person\d+\.\d+@holder\d+\.com|made\.up\d+@invented\d+\.com|\b4\d{15}\b")


def code_of(document: Any, *, anthropic: bool) -> str:
    """The stable code of an error. Raises KeyError, TypeError or ValueError for what is no error of the dialect."""
    error = document["error"]
    wanted = {"type", "message", "code"} if anthropic else {"message", "type", "param", "code"}
    if set(error) != wanted or not error["message"] or (anthropic and document["type"] != "error"):
        raise ValueError("not of this dialect")
    return str(error["code"])


def text_of(body: bytes, *, is_stream: bool, defined: bool = False) -> tuple[str, str]:
    """The answer's words, and the code of the error that ended it; what cannot be read has none.

    defined: without the words of events that are none of the API's, which its SDK does not take for the answer's.
    """
    documents = list(_events(body)) if is_stream else [_parsed(body)]
    if defined:
        documents = list(filter(_is_defined, documents))
    code = "".join(str(one["error"]["code"]) for one in documents if isinstance(one.get("error"), dict))
    return "".join(map(_words, documents)), code


def personal(text: str, body: bytes) -> set[str]:
    """Addresses and cards in the words, and in the bytes themselves."""
    return {*_PERSONAL.findall(text), *_PERSONAL.findall(body.decode("utf-8", "replace"))}


def _events(body: bytes) -> Any:
    for event in body.split(b"\n\n")[:-1]:
        for line in event.split(b"\n"):
            if line.startswith(b"data: ") and line != b"data: [DONE]":
                yield _parsed(line[6:])


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _is_defined(document: dict[str, Any]) -> bool:
    if "delta" not in document:
        return True
    return (document.get("type"), document["delta"].get("type")) == ("content_block_delta", "text_delta")


def _words(document: dict[str, Any]) -> str:
    choices = document.get("choices", ())
    parts = [choice.get("delta", {}).get("content") or choice.get("message", {}).get("content") for choice in choices]
    parts += [document.get("delta", {}).get("text"), *(part.get("text") for part in document.get("content", ()))]
    return "".join(part for part in parts if isinstance(part, str))
