"""What a request says in its API's words, and what an answer says in plain ones."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from tests.soak.asks import TOOL_SCHEMA, Api, Ask

SYSTEM = "Repeat what you are told."


def body_of(ask: Ask) -> dict[str, Any]:
    """The JSON of the request."""
    return {"model": ask.model, **_members(ask), **({"stream": True} if ask.stream else {})}


def _members(ask: Ask) -> dict[str, Any]:
    user = {"role": "user", "content": ask.said}
    match ask.api:
        case Api.CHAT:
            return {"messages": [{"role": "system", "content": SYSTEM}, user], "max_tokens": ask.cap, **_tools(ask)}
        case Api.MESSAGES:
            return {"messages": [user], "max_tokens": ask.cap, **_tools(ask)}
        case Api.RESPONSES:
            return {"input": ask.said, "max_output_tokens": ask.cap}
        case Api.COMPLETIONS:
            return {"prompt": ask.said, "max_tokens": ask.cap}
        case Api.EMBEDDINGS:
            return {"input": ask.said}


def _tools(ask: Ask) -> Mapping[str, Any]:
    if not ask.tool:
        return {}
    if ask.api is Api.MESSAGES:
        return {"tools": [{"name": "note", "input_schema": TOOL_SCHEMA}]}
    return {"tools": [{"type": "function", "function": {"name": "note", "parameters": TOOL_SCHEMA}}]}


def text_of(ask: Ask, body: bytes) -> str:
    """The words of an answer, of a stream as far as it came; a tool's argument where one was called.

    ValueError for what is no such answer.
    """
    try:
        said = "".join(_deltas(ask, body)) if ask.stream else _whole(ask, json.loads(body))
        return str(json.loads(said)["text"]) if ask.tool else said
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"no answer of {ask.api.value}: {type(error).__name__} {error}") from None


def _whole(ask: Ask, document: Any) -> str:
    match ask.api:
        case Api.CHAT:
            message = document["choices"][0]["message"]
            return str(message["tool_calls"][0]["function"]["arguments"] if ask.tool else message["content"])
        case Api.MESSAGES:
            block = document["content"][-1]
            return json.dumps(block["input"]) if ask.tool else str(block["text"])
        case Api.RESPONSES:
            return str(document["output"][-1]["content"][0]["text"])
        case Api.COMPLETIONS:
            return str(document["choices"][0]["text"])
        case Api.EMBEDDINGS:
            return str(len(document["data"]))


def events_of(body: bytes) -> Iterator[Any]:
    """The documents of a stream's whole events; `[DONE]` is none."""
    for event in body.replace(b"\r\n", b"\n").split(b"\n\n")[:-1]:
        data = b"".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if data and data != b"[DONE]":
            yield json.loads(data)


def _deltas(ask: Ask, body: bytes) -> Iterator[str]:
    for document in events_of(body):
        yield _delta(ask, document) or ""


def _delta(ask: Ask, document: Any) -> str | None:
    if ask.api is Api.MESSAGES:
        delta = document.get("delta", {}) if document["type"] == "content_block_delta" else {}
        return str(delta.get("partial_json" if ask.tool else "text") or "")
    if ask.api is Api.RESPONSES:
        return document["delta"] if document["type"] == "response.output_text.delta" else None
    choice: Any = next(iter(document.get("choices", ())), {})
    if ask.api is Api.COMPLETIONS:
        return str(choice.get("text", ""))
    delta = choice.get("delta", {})
    if ask.tool:
        return "".join(call["function"].get("arguments") or "" for call in delta.get("tool_calls", ()))
    return str(delta.get("content") or "")


def error_of(document: Any) -> tuple[str, str, bool]:
    """(code, type, whether it is Anthropic's form) of an error in either dialect. ValueError for anything else."""
    if not isinstance(document, dict) or not isinstance(error := document.get("error"), dict):
        raise ValueError("no error of either dialect")
    anthropic = document.get("type") == "error"
    members = {"type", "message"} if anthropic else {"message", "type", "param", "code"}
    if not members <= error.keys() or not isinstance(error["message"], str):
        raise ValueError(f"an error lacks {sorted(members - error.keys())}")
    return str(error.get("code") or ""), str(error["type"]), anthropic
