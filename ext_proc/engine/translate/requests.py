"""Requests of one API as the other one takes them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from headrace.ext_proc.engine.translate import effort
from headrace.ext_proc.engine.translate.members import OF_CHATS, OF_MESSAGES
from headrace.ext_proc.engine.translate.values import (
    Document,
    Untranslatable,
    arguments,
    is_object,
    mapping,
    mappings,
    only_text,
    parts_of,
    refuse,
    refuse_others,
    renamed,
    string,
    text_of,
    unavailable,
)

DEFAULT_CAP: Final = 4096
"""Tokens. Anthropic demands a cap; OpenAI's callers need not give one."""

_SYSTEM: Final = ("system", "developer")

_DATA_URL: Final = re.compile(r"data:(image/[a-z0-9.+-]+);base64,(.*)", re.DOTALL)


def to_anthropic(document: Mapping[str, Any], efforts: Sequence[str] = ()) -> Document:
    """An OpenAI chat completion request as Anthropic's messages. efforts: those that the model takes. Raises Untranslatable."""
    refuse_others(document, OF_CHATS)
    if document.get("n") not in (None, 1):
        raise Untranslatable("n", "'n' must be 1 for this model")
    if document.get("modalities") not in (None, [], ["text"]):
        raise Untranslatable("modalities", "only text is available for this model")
    turns = mappings(document.get("messages"))
    system = "\n\n".join(only_text(turn.get("content"), "messages") for turn in turns if turn.get("role") in _SYSTEM)
    cap = document.get("max_completion_tokens") or document.get("max_tokens") or DEFAULT_CAP
    asked = {
        "model": document.get("model"),
        "max_tokens": cap,
        "messages": _joined(_anthropic_turn(turn) for turn in turns if turn.get("role") not in _SYSTEM),
        **renamed(document, {"stream": "stream", "top_p": "top_p"}),
    }
    if system:
        asked["system"] = system
    if isinstance(warmth := document.get("temperature"), int | float):
        asked["temperature"] = min(warmth, 1.0)  # OpenAI's goes to 2
    if stop := document.get("stop"):
        asked["stop_sequences"] = [stop] if isinstance(stop, str) else stop
    if user := string(document.get("user")) or string(document.get("safety_identifier")):
        asked["metadata"] = {"user_id": user}
    thought = effort.to_anthropic(document, efforts)
    if configured := _anthropic_format(document) | mapping(thought.get("output_config")):
        thought["output_config"] = configured
    return asked | thought | _anthropic_tools(document)


def _anthropic_format(document: Mapping[str, Any]) -> Document:
    """Anthropic knows no JSON without a schema."""
    asked = mapping(document.get("response_format"))
    if asked.get("type") in (None, "text"):
        return {}
    schema = mapping(mapping(asked.get("json_schema")).get("schema"))
    if asked.get("type") != "json_schema" or not schema:
        raise Untranslatable("response_format", "only a 'response_format' with a JSON schema is available for this model")
    return {"format": {"type": "json_schema", "schema": schema}}


def _anthropic_tools(document: Mapping[str, Any]) -> Document:
    tools = [_anthropic_tool(tool) for tool in mappings(document.get("tools"))]
    if not tools:
        return {}
    choice = _anthropic_choice(document.get("tool_choice"))
    if document.get("parallel_tool_calls") is False and choice["type"] != "none":
        choice["disable_parallel_tool_use"] = True
    return {"tools": tools, "tool_choice": choice}


def _anthropic_choice(chosen: Any) -> Document:
    if named := string(mapping(mapping(chosen).get("function")).get("name")):
        return {"type": "tool", "name": named}
    kinds = {"auto": "auto", "required": "any", "none": "none"}
    kind = kinds.get("auto" if chosen is None else string(chosen))
    if kind is None:
        raise Untranslatable("tool_choice", "'tool_choice' must be 'auto', 'required', 'none' or a function for this model")
    return {"type": kind}


def _anthropic_tool(tool: Mapping[str, Any]) -> Document:
    function = mapping(tool.get("function"))
    if tool.get("type") != "function" or not function:
        raise Untranslatable("tools", "only tools of the type 'function' are available for this model")
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    strict = {"strict": True} if function.get("strict") is True else {}
    return {"name": function.get("name"), **renamed(function, {"description": "description"}), "input_schema": schema, **strict}


def _anthropic_turn(turn: Mapping[str, Any]) -> Document:
    role = turn.get("role")
    refuse(turn, "function_call", "audio", within="messages")
    if role == "tool":
        result = {"type": "tool_result", "tool_use_id": turn.get("tool_call_id"), "content": _anthropic_result(turn.get("content"))}
        return {"role": "user", "content": [result]}
    if role not in ("user", "assistant"):
        raise Untranslatable("messages", f"a message of the role {str(role)[:40]!r} is not available for this model")
    parts = [*_anthropic_parts(turn.get("content")), *_anthropic_parts(turn.get("refusal"))]
    return {"role": role, "content": parts + [_anthropic_call(call) for call in mappings(turn.get("tool_calls"))]}


def _anthropic_call(call: Mapping[str, Any]) -> Document:
    if call.get("type") not in (None, "function"):
        raise Untranslatable("messages", "only calls of the type 'function' are available for this model")
    function = mapping(call.get("function"))
    given = function.get("arguments")
    if given and not is_object(given):
        raise Untranslatable("messages", "a call's arguments that are no JSON object are not available for this model")
    return {"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": arguments(given)}


def _anthropic_result(content: Any) -> Any:
    parts = list(_anthropic_parts(content))
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _anthropic_parts(content: Any) -> Iterator[Document]:
    if isinstance(content, str) and content:
        yield {"type": "text", "text": content}
    for part in parts_of(content, "messages"):
        match part.get("type"):
            case "text" | "refusal":
                if text := string(part.get("text")) or string(part.get("refusal")):
                    yield {"type": "text", "text": text}
            case "image_url":
                yield {"type": "image", "source": _source(string(mapping(part.get("image_url")).get("url")))}
            case kind:
                raise unavailable("messages", kind)


def _source(url: str) -> Document:
    if inline := _DATA_URL.fullmatch(url):
        return {"type": "base64", "media_type": inline[1], "data": inline[2]}
    if not url or url.startswith("data:"):
        raise Untranslatable("messages", "only images with a URL, or in base64, are available for this model")
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


def to_openai(document: Mapping[str, Any], efforts: Sequence[str] = ()) -> Document:
    """Anthropic's messages request as an OpenAI chat completion. efforts: as of to_anthropic. Raises Untranslatable."""
    refuse_others(document, OF_MESSAGES)
    _refuse_edits(mapping(document.get("context_management")))
    if document.get("max_tokens") == 0:
        raise Untranslatable("max_tokens", "'max_tokens' must be 1 at least for this model")
    asked: Document = renamed(
        document, {"model": "model", "max_tokens": "max_completion_tokens", "temperature": "temperature", "top_p": "top_p"}
    )
    asked["messages"] = [*_system(document.get("system"), "system"), *_openai_turns(mappings(document.get("messages")))]
    if document.get("stream"):
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    if stops := document.get("stop_sequences"):
        asked["stop"] = stops
    if isinstance(user := mapping(document.get("metadata")).get("user_id"), str):
        asked["user"] = user
    return asked | effort.to_openai(document, efforts) | _openai_format(document) | _openai_tools(document)


def _refuse_edits(management: Mapping[str, Any]) -> None:
    """Thinking of earlier turns stays out in any case, so that it may be cleared means nothing here; other edits do."""
    edits = management.get("edits")
    cleared = [edit for edit in mappings(edits) if string(edit.get("type")).startswith("clear_thinking_")]
    refuse(management, *(name for name in management if name != "edits"), within="context_management")
    if edits and edits != cleared:
        raise Untranslatable("context_management", "'context_management' may only clear thinking for this model")


def _system(system: Any, param: str) -> list[Document]:
    return [{"role": "system", "content": text}] if (text := only_text(system, param)) else []


def _openai_format(document: Mapping[str, Any]) -> Document:
    """`output_format` is the name from before `output_config`. OpenAI wants a name for a schema; Anthropic has none."""
    asked = mapping(mapping(document.get("output_config")).get("format") or document.get("output_format"))
    if not asked:
        return {}
    if asked.get("type") != "json_schema":
        raise Untranslatable("output_config", "only the format 'json_schema' is available for this model")
    schema = {"name": "answer", "schema": asked.get("schema"), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _openai_tools(document: Mapping[str, Any]) -> Document:
    tools = [_openai_tool(tool) for tool in mappings(document.get("tools"))]
    if not tools:
        return {}
    choice = mapping(document.get("tool_choice"))
    chosen = _openai_choice(choice)
    alone = {"parallel_tool_calls": False} if choice.get("disable_parallel_tool_use") else {}
    return {"tools": tools, "tool_choice": chosen, **alone}


def _openai_choice(choice: Mapping[str, Any]) -> Any:
    if choice.get("type") == "tool":
        return {"type": "function", "function": {"name": choice.get("name")}}
    kinds = {"auto": "auto", "any": "required", "none": "none"}
    kind = kinds.get(string(choice.get("type", "auto")))
    if kind is None:
        raise Untranslatable("tool_choice", "'tool_choice' must be of the type 'auto', 'any', 'tool' or 'none' for this model")
    return kind


def _openai_tool(tool: Mapping[str, Any]) -> Document:
    if tool.get("type") not in (None, "custom"):
        raise Untranslatable("tools", f"the tool {str(tool.get('type'))[:40]!r} is not available for this model")
    named = {"name": tool.get("name"), **renamed(tool, {"description": "description", "input_schema": "parameters"})}
    if tool.get("strict") is True:
        named["strict"] = True
    return {"type": "function", "function": named}


def _openai_turns(turns: Sequence[Document]) -> Iterator[Document]:
    for turn in turns:
        content = turn.get("content")
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else parts_of(content, "messages")
        match turn.get("role"):
            case "assistant":
                yield from _openai_assistant(parts)
            case "user":
                yield from _openai_user(parts)
            case "system":
                yield from _system(content, "messages")
            case role:
                raise Untranslatable("messages", f"a message of the role {str(role)[:40]!r} is not available for this model")


def _openai_user(parts: Sequence[Document]) -> Iterator[Document]:
    """The results of tools come first, each as a message that has text alone; their images come with what the user says."""
    results = [part for part in parts if part.get("type") == "tool_result"]
    yield from (_tool_message(result) for result in results)
    said = [one for result in results for one in _images(result)]
    if said := [*said, *(_openai_part(part) for part in parts if part.get("type") != "tool_result")]:
        yield {"role": "user", "content": _plain(said)}


def _openai_assistant(parts: Sequence[Document]) -> Iterator[Document]:
    """Thinking stays out: no other API takes another's. A turn that had nothing else is none, which OpenAI refuses."""
    calls: list[Document] = []
    said = ""
    for part in parts:
        match part.get("type"):
            case "text":
                said += string(part.get("text"))
            case "tool_use":
                function = {"name": part.get("name"), "arguments": text_of(part.get("input"))}
                calls.append({"id": part.get("id"), "type": "function", "function": function})
            case "thinking" | "redacted_thinking":
                continue
            case kind:
                raise unavailable("messages", kind)
    if said or calls:
        yield {"role": "assistant", "content": said or None, **({"tool_calls": calls} if calls else {})}


def _result_parts(result: Mapping[str, Any]) -> Sequence[Document]:
    content = result.get("content")
    return [{"type": "text", "text": content}] if isinstance(content, str) else parts_of(content, "messages")


def _tool_message(result: Mapping[str, Any]) -> Document:
    text = "".join(string(part.get("text")) for part in _result_parts(result) if part.get("type") == "text")
    return {"role": "tool", "tool_call_id": result.get("tool_use_id"), "content": text}


def _images(result: Mapping[str, Any]) -> Sequence[Document]:
    """What a result has beside its text, behind the name of its call."""
    found = [_openai_part(part) for part in _result_parts(result) if part.get("type") != "text"]
    return [{"type": "text", "text": f"Result of {string(result.get('tool_use_id'))}:"}, *found] if found else []


def _openai_part(part: Mapping[str, Any]) -> Document:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": string(part.get("text"))}
        case "image":
            return {"type": "image_url", "image_url": {"url": _url(mapping(part.get("source")))}}
        case kind:
            raise unavailable("messages", kind)


def _url(source: Mapping[str, Any]) -> str:
    match source.get("type"):
        case "base64":
            return f"data:{string(source.get('media_type'))};base64,{string(source.get('data'))}"
        case "url":
            return string(source.get("url"))
        case kind:
            raise Untranslatable("messages", f"an image of the source {str(kind)[:40]!r} is not available for this model")


def _plain(parts: Sequence[Document]) -> Any:
    """Text alone as a string: not every server takes parts."""
    if all(part["type"] == "text" for part in parts):
        return "".join(part["text"] for part in parts)
    return list(parts)
