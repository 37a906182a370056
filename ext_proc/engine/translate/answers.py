"""Whole answers and errors of one API as the callers of the other one read them."""

from collections.abc import Mapping
from typing import Any

from headrace.ext_proc.engine.translate.values import (
    ERRORS_TO_ANTHROPIC,
    ERRORS_TO_OPENAI,
    FINISH,
    Document,
    arguments,
    count,
    mapping,
    mappings,
    stop_reason,
    string,
    text_of,
    texts,
    thought_of,
)


def to_openai(document: Mapping[str, Any], created: int) -> Document:
    """Anthropic's message as a chat completion. created: epoch seconds."""
    parts = mappings(document.get("content"))
    calls = [
        {"id": part.get("id"), "type": "function", "function": {"name": part.get("name"), "arguments": text_of(part.get("input"))}}
        for part in parts
        if part.get("type") == "tool_use"
    ]
    said = "".join(string(part.get("text")) for part in parts if part.get("type") == "text")
    thought = "".join(string(part.get("thinking")) for part in parts if part.get("type") == "thinking")
    message: Document = {"role": "assistant", "content": said if said or not calls else None, "refusal": None}
    message |= {"tool_calls": calls} if calls else {}
    message |= {"reasoning_content": thought} if thought else {}
    finish = FINISH.get(string(document.get("stop_reason")), "stop")
    return {
        "id": string(document.get("id")),
        "object": "chat.completion",
        "created": created,
        "model": string(document.get("model")),
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": usage_to_openai(mapping(document.get("usage"))),
    } | tier_to_openai(mapping(document.get("usage")))


def tier_to_openai(usage: Mapping[str, Any]) -> Document:
    """Anthropic says within its usage which tier served a request, OpenAI beside it."""
    tier = string(usage.get("service_tier"))
    return {"service_tier": tier} if tier else {}


def usage_to_openai(usage: Mapping[str, Any]) -> Document:
    """Anthropic counts what its cache read and wrote beside the input, OpenAI within it.

    What OpenAI has no word for and a settlement prices, cache writes, is kept as Anthropic says it.
    """
    read, written = count(usage.get("cache_read_input_tokens")), count(usage.get("cache_creation_input_tokens"))
    prompt, answer = count(usage.get("input_tokens")) + read + written, count(usage.get("output_tokens"))
    return {
        "prompt_tokens": prompt,
        "completion_tokens": answer,
        "total_tokens": prompt + answer,
        "prompt_tokens_details": {"cached_tokens": read},
    } | _writes(written, mapping(usage.get("cache_creation")))


def _writes(written: int, by_time: Mapping[str, Any]) -> Document:
    if not written:
        return {}
    hour = count(by_time.get("ephemeral_1h_input_tokens"))
    kept = {"cache_creation": {"ephemeral_1h_input_tokens": hour}} if hour else {}
    return {"cache_creation_input_tokens": written, **kept}


def to_anthropic(document: Mapping[str, Any]) -> Document:
    """A chat completion as Anthropic's message: of its first choice."""
    choice = next(iter(mappings(document.get("choices"))), {})
    message = mapping(choice.get("message"))
    content: list[Document] = []
    if thought := thought_of(message):
        content.append({"type": "thinking", "thinking": thought, "signature": ""})
    if said := texts(message.get("content")) or string(message.get("refusal")):
        content.append({"type": "text", "text": said})
    calls = mappings(message.get("tool_calls"))
    for call in calls:
        function = mapping(call.get("function"))
        given = arguments(function.get("arguments"))
        content.append({"type": "tool_use", "id": call.get("id"), "name": function.get("name"), "input": given})
    return {
        "id": string(document.get("id")),
        "type": "message",
        "role": "assistant",
        "model": string(document.get("model")),
        "content": content,
        "stop_reason": stop_reason(choice.get("finish_reason"), called=bool(calls)),
        "stop_sequence": None,
        "usage": usage_to_anthropic(mapping(document.get("usage")), document.get("service_tier")),
    }


def usage_to_anthropic(usage: Mapping[str, Any], service_tier: Any = None) -> Document:
    """service_tier: what stands beside OpenAI's usage.

    What Anthropic has no word for and a settlement prices, reasoning, is kept as OpenAI says it.
    """
    cached = count(mapping(usage.get("prompt_tokens_details")).get("cached_tokens"))
    prompt = count(usage.get("prompt_tokens"))
    return {
        "input_tokens": max(prompt - cached, 0),
        "output_tokens": count(usage.get("completion_tokens")),
        "cache_read_input_tokens": min(cached, prompt),
        "cache_creation_input_tokens": 0,
    } | _priced(count(mapping(usage.get("completion_tokens_details")).get("reasoning_tokens")), string(service_tier))


def _priced(reasoning: int, tier: str) -> Document:
    thought = {"completion_tokens_details": {"reasoning_tokens": reasoning}} if reasoning else {}
    return thought | ({"service_tier": tier} if tier else {})


def error_to_openai(document: Mapping[str, Any]) -> Document:
    error = mapping(document.get("error"))
    kind = ERRORS_TO_OPENAI.get(string(error.get("type")), "server_error")
    message = string(error.get("message")) or "The model server refused the request."
    return {"error": {"message": message, "type": kind, "param": None, "code": error.get("code")}}


def error_to_anthropic(document: Mapping[str, Any], status: int) -> Document:
    """Where a server writes its error without OpenAI's member `error`, its own words are kept."""
    error = mapping(document.get("error")) or document
    kind = ERRORS_TO_ANTHROPIC.get(status, "api_error")
    message = string(error.get("message")) or string(error.get("detail")) or "The model server refused the request."
    return {"type": "error", "error": {"type": kind, "message": message}}
