"""Requests of one API as the other one takes them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from headrace.ext_proc.engine.translate.values import (
    Document,
    Untranslatable,
    arguments,
    mapping,
    mappings,
    refuse,
    renamed,
    string,
    text_of,
    texts,
)

DEFAULT_CAP: Final = 4096
"""Tokens. Anthropic demands a cap; OpenAI's callers need not give one."""

_DATA_URL: Final = re.compile(r"data:(image/[a-z0-9.+-]+);base64,(.*)", re.DOTALL)


def to_anthropic(document: Mapping[str, Any]) -> Document:
    """An OpenAI chat completion request as Anthropic's messages. Raises Untranslatable."""
    refuse(document, "audio", "functions", "function_call", "logprobs", "logit_bias", "web_search_options", "prediction")
    if document.get("n") not in (None, 1):
        raise Untranslatable("n", "'n' must be 1 for this model")
    if mapping(document.get("response_format")).get("type") not in (None, "text"):
        raise Untranslatable("response_format", "'response_format' is not available for this model; describe the format to it")
    turns = mappings(document.get("messages"))
    system = "\n\n".join(texts(turn.get("content")) for turn in turns if turn.get("role") in ("system", "developer"))
    cap = document.get("max_completion_tokens") or document.get("max_tokens") or DEFAULT_CAP
    asked = {
        "model": document.get("model"),
        "max_tokens": cap,
        "messages": _joined(_anthropic_turn(turn) for turn in turns if turn.get("role") not in ("system", "developer")),
        **renamed(document, {"stream": "stream", "top_p": "top_p"}),
    }
    if system:
        asked["system"] = system
    if isinstance(warmth := document.get("temperature"), int | float):
        asked["temperature"] = min(warmth, 1.0)  # OpenAI's goes to 2
    if stop := document.get("stop"):
        asked["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if isinstance(user := document.get("user"), str):
        asked["metadata"] = {"user_id": user}
    return asked | _anthropic_tools(document)


def _anthropic_tools(document: Mapping[str, Any]) -> Document:
    tools = [_anthropic_tool(tool) for tool in mappings(document.get("tools"))]
    if not tools:
        return {}
    chosen = document.get("tool_choice")
    named = string(mapping(mapping(chosen).get("function")).get("name"))
    kinds = {"auto": "auto", "required": "any", "none": "none"}
    choice: Document = {"type": "tool", "name": named} if named else {"type": kinds.get(string(chosen), "auto")}
    if document.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return {"tools": tools, "tool_choice": choice}


def _anthropic_tool(tool: Mapping[str, Any]) -> Document:
    function = mapping(tool.get("function"))
    if tool.get("type") != "function" or not function:
        raise Untranslatable("tools", "only tools of the type 'function' are available for this model")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    return {"name": function.get("name"), **renamed(function, {"description": "description"}), "input_schema": schema}


def _anthropic_turn(turn: Mapping[str, Any]) -> Document:
    role = turn.get("role")
    if role == "tool":
        result = {"type": "tool_result", "tool_use_id": turn.get("tool_call_id"), "content": texts(turn.get("content"))}
        return {"role": "user", "content": [result]}
    parts = list(_anthropic_parts(turn.get("content")))
    for call in mappings(turn.get("tool_calls")):
        function = mapping(call.get("function"))
        given = arguments(function.get("arguments"))
        parts.append({"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given})
    return {"role": "assistant" if role == "assistant" else "user", "content": parts}


def _anthropic_parts(content: Any) -> Iterator[Document]:
    if isinstance(content, str) and content:
        yield {"type": "text", "text": content}
    for part in mappings(content):
        match part.get("type"):
            case "text" | "refusal":
                if text := string(part.get("text")) or string(part.get("refusal")):
                    yield {"type": "text", "text": text}
            case "image_url":
                yield {"type": "image", "source": _source(string(mapping(part.get("image_url")).get("url")))}
            case kind:
                raise Untranslatable("messages", f"content of the type {str(kind)[:40]!r} is not available for this model")


def _source(url: str) -> Document:
    if inline := _DATA_URL.fullmatch(url):
        return {"type": "base64", "media_type": inline[1], "data": inline[2]}
    return {"type": "url", "url": url}


def _joined(turns: Iterator[Document]) -> list[Document]:
    """Turns of one role in a row as one: results of several tools are one message of the user."""
    joined: list[Document] = []
    for turn in turns:
        if not turn["content"]:
            continue
        if joined and joined[-1]["role"] == turn["role"]:
            joined[-1]["content"] += turn["content"]
        else:
            joined.append(turn)
    return joined


def to_openai(document: Mapping[str, Any]) -> Document:
    """Anthropic's messages request as an OpenAI chat completion. Raises Untranslatable."""
    refuse(document, "container", "mcp_servers", "context_management")
    asked: Document = renamed(
        document, {"model": "model", "max_tokens": "max_completion_tokens", "temperature": "temperature", "top_p": "top_p"}
    )
    asked["messages"] = [*_system(document.get("system")), *_openai_turns(mappings(document.get("messages")))]
    if document.get("stream"):
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    if stops := document.get("stop_sequences"):
        asked["stop"] = stops
    if isinstance(user := mapping(document.get("metadata")).get("user_id"), str):
        asked["user"] = user
    return asked | _openai_tools(document)


def _system(system: Any) -> list[Document]:
    return [{"role": "system", "content": text}] if (text := texts(system)) else []


def _openai_tools(document: Mapping[str, Any]) -> Document:
    tools = [_openai_tool(tool) for tool in mappings(document.get("tools"))]
    if not tools:
        return {}
    choice = mapping(document.get("tool_choice"))
    kinds = {"auto": "auto", "any": "required", "none": "none"}
    chosen: Any = kinds.get(string(choice.get("type")), "auto")
    if choice.get("type") == "tool":
        chosen = {"type": "function", "function": {"name": choice.get("name")}}
    alone = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    return {"tools": tools, "tool_choice": chosen, **alone}


def _openai_tool(tool: Mapping[str, Any]) -> Document:
    if tool.get("type") not in (None, "custom"):
        raise Untranslatable("tools", f"the tool {str(tool.get('type'))[:40]!r} is not available for this model")
    named = {"name": tool.get("name"), **renamed(tool, {"description": "description", "input_schema": "parameters"})}
    return {"type": "function", "function": named}


def _openai_turns(turns: Sequence[Document]) -> Iterator[Document]:
    for turn in turns:
        content = turn.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else mappings(content)
        if turn.get("role") == "assistant":
            yield _openai_assistant(parts)
        else:
            yield from (_tool_message(part) for part in parts if part.get("type") == "tool_result")
            if said := [_openai_part(part) for part in parts if part.get("type") != "tool_result"]:
                yield {"role": "user", "content": _plain(said)}


def _openai_assistant(parts: Sequence[Document]) -> Document:
    """Thinking stays out: no other API takes another's."""
    calls = [
        {"id": part.get("id"), "type": "function", "function": {"name": part.get("name"), "arguments": text_of(part.get("input"))}}
        for part in parts
        if part.get("type") == "tool_use"
    ]
    said = "".join(string(part.get("text")) for part in parts if part.get("type") == "text")
    return {"role": "assistant", "content": said or None, **({"tool_calls": calls} if calls else {})}


def _tool_message(part: Mapping[str, Any]) -> Document:
    return {"role": "tool", "tool_call_id": part.get("tool_use_id"), "content": texts(part.get("content"))}


def _openai_part(part: Mapping[str, Any]) -> Document:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": string(part.get("text"))}
        case "image":
            return {"type": "image_url", "image_url": {"url": _url(mapping(part.get("source")))}}
        case kind:
            raise Untranslatable("messages", f"content of the type {str(kind)[:40]!r} is not available for this model")


def _url(source: Mapping[str, Any]) -> str:
    if source.get("type") == "base64":
        return f"data:{string(source.get('media_type'))};base64,{string(source.get('data'))}"
    return string(source.get("url"))


def _plain(parts: Sequence[Document]) -> Any:
    """Text alone as a string: not every server takes parts."""
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return list(parts)
