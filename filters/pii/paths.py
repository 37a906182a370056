"""Which members of a request are no text, by endpoint. A member that is not here is searched.

Sources: the OpenAI and Anthropic API references. Words of the protocol are listed because a search would find dates in model
names and numbers in ids, and break the call; see `strings` for what a word must look like. Where a number or a truth value
belongs, a string is a mistake or a hiding place, and so text.
"""

from collections.abc import Mapping

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.filters.pii.strings import OF_TYPE, OTHERS, Kind, Rule, Rules

_WORD, _TEXT, _MEDIA, _JSON, _FREE, _FILE = Kind.WORD, Kind.TEXT, Kind.MEDIA, Kind.EMBEDDED, Kind.FREE, Kind.REFERENCE


def _words(*names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, _WORD)


def _texts(*names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, _TEXT)


_CACHE: Rules = _words("type", "ttl")
_SAMPLING: Rules = {
    **_words("model", "service_tier", "reasoning_effort", "verbosity", "modalities", "truncation", "prompt_cache_retention"),
    **_texts("max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k", "n", "seed", "logprobs"),
    **_texts("top_logprobs", "presence_penalty", "frequency_penalty", "parallel_tool_calls", "stream", "store"),
    "stream_options": _texts("include_usage", "include_obfuscation"),
    "logit_bias": {"*": _TEXT},
    "metadata": _FREE,
    **_texts("user", "stop", "safety_identifier", "prompt_cache_key"),
}

# A JSON Schema, in which every level is one again; a schema names the dialect it is written in by a URL.
_SCHEMA: Rules = {**_words("$schema", "$id", "$ref", "$anchor", "type", "format"), **_texts("title", "description", "pattern")}
_SCHEMA[OTHERS] = _SCHEMA
_SCHEMA |= {name: {OTHERS: _SCHEMA} for name in ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")}
_SCHEMA |= dict.fromkeys(("default", "const", "enum", "examples", "required"), _FREE)

_FUNCTION: Rules = {"name": _WORD, "arguments": _JSON, "description": _TEXT, "parameters": _SCHEMA, "strict": _WORD}
_FORMAT: Rules = {"type": _WORD, "grammar": {"": _TEXT, "syntax": _WORD, "definition": _TEXT}}
_CUSTOM: Rules = {"name": _WORD, "description": _TEXT, "input": _TEXT, "format": _FORMAT}
_TOOL: Rules = {
    "": _WORD,
    **_words("type", "name", "mode", "strict"),
    "description": _TEXT,
    "function": _FUNCTION,
    "custom": _CUSTOM,
    "format": _FORMAT,
}
_TOOL["tools"] = _TOOL
_TOOL["allowed_tools"] = _TOOL
_PLACE: Rules = {"type": _WORD, **_texts("city", "country", "region", "timezone")}
_PLACE["approximate"] = _PLACE

_CHAT_PART: Rules = {
    **_words("type"),
    **_texts("text", "refusal"),
    "image_url": {"": _MEDIA, "url": _MEDIA, "detail": _WORD},
    "input_audio": {"data": _MEDIA, "format": _WORD},
    "file": {"file_data": _MEDIA, "file_id": _FILE, "filename": _TEXT},
    "cache_control": _CACHE,
}
_CHAT_MESSAGE: Rules = {
    **_words("role", "tool_call_id"),
    **_texts("name", "refusal", "reasoning", "reasoning_content"),
    "content": _CHAT_PART,
    "tool_calls": {**_words("id", "type", "index"), "function": _FUNCTION, "custom": _CUSTOM},
    "function_call": _FUNCTION,
    "audio": {"id": _FILE},
    "annotations": {"type": _WORD, "url_citation": _texts("url", "title")},
}
CHAT: Rules = {
    **_SAMPLING,
    "messages": _CHAT_MESSAGE,
    "tools": _TOOL,
    "tool_choice": _TOOL,
    "functions": _FUNCTION,
    "function_call": {"": _WORD, "name": _WORD},
    "response_format": {
        "type": _WORD,
        "json_schema": {**_words("name", "strict"), "description": _TEXT, "schema": _SCHEMA},
    },
    "audio": _words("voice", "format"),
    "prediction": {"type": _WORD, "content": _CHAT_PART},
    "web_search_options": {"search_context_size": _WORD, "user_location": _PLACE},
}

_RESPONSES_PART: Rules = {
    **_words("type", "detail"),
    **_texts("text", "refusal", "filename"),
    "file_id": _FILE,
    "image_url": _MEDIA,
    "file_data": _MEDIA,
    "file_url": _MEDIA,
    "input_audio": {"data": _MEDIA, "format": _WORD},
}
_ITEM: Rules = {
    "": _TEXT,
    **_words("type", "role", "id", "status", "call_id", "name", "server_label", "approval_request_id", "approve"),
    **_texts("reason", "input", "code", "error"),
    "arguments": _JSON,
    "content": _RESPONSES_PART,
    "output": _RESPONSES_PART,
    "summary": _RESPONSES_PART,
    **dict.fromkeys(("encrypted_content", "result", "image_url", "file_data"), _MEDIA),
    **dict.fromkeys(("text", "action", "results", "outputs", "queries"), _FREE),
    "file_id": _FILE,
}
RESPONSES: Rules = {
    **_SAMPLING,
    **_words("include", "background", "max_tool_calls"),
    "previous_response_id": _FILE,
    "conversation": {"": _FILE, "id": _FILE},
    "instructions": _ITEM,
    "input": _ITEM,
    "tools": {
        **_TOOL,
        "parameters": _SCHEMA,
        **dict.fromkeys(("vector_store_ids", "container"), _FREE),
        **_words("server_label", "require_approval", "search_context_size", "connector_id", "environment"),
        **_texts("server_url", "server_description", "authorization", "allowed_tools"),
        "headers": _FREE,
        "filters": _FREE,
        "user_location": _PLACE,
    },
    "tool_choice": _TOOL,
    "text": {"format": {**_words("type", "name", "strict"), "description": _TEXT, "schema": _SCHEMA}, "verbosity": _WORD},
    "reasoning": _words("effort", "summary", "generate_summary"),
    "prompt": {"id": _FILE, "version": _WORD, "variables": {OTHERS: _RESPONSES_PART}},
}

_SOURCE: Rules = {**_words("type", "media_type"), "file_id": _FILE, "data": _MEDIA, "url": _MEDIA}
_BLOCK: Rules = {
    **_words("type", "id", "tool_use_id", "name", "is_error", "file_id"),
    **_texts("text", "title", "context", "thinking", "url"),
    "input": _FREE,
    **dict.fromkeys(("signature", "data", "encrypted_content", "encrypted_index"), _MEDIA),
    "cache_control": _CACHE,
    "citations": _FREE,
}
_BLOCK["content"] = _BLOCK
_SOURCE["content"] = _BLOCK
_BLOCK["source"] = {**_SOURCE, OF_TYPE: {"text": {**_SOURCE, "data": _TEXT}}}
MESSAGES: Rules = {
    **_SAMPLING,
    "container": {"": _FILE, "id": _FILE},
    "system": _BLOCK,
    "messages": {"role": _WORD, "content": _BLOCK},
    "tools": {
        **_words("type", "name", "max_uses"),
        "description": _TEXT,
        "cache_control": _CACHE,
        "input_schema": _SCHEMA,
        **_texts("allowed_domains", "blocked_domains"),
        "user_location": _PLACE,
    },
    "tool_choice": _words("type", "name", "disable_parallel_tool_use"),
    "thinking": _words("type", "budget_tokens"),
    "stop_sequences": _TEXT,
}

PLAIN: Rules = {
    **_SAMPLING,
    **_words("encoding_format", "dimensions", "best_of", "echo"),
    **_texts("input", "prompt", "suffix"),
}

RULES: Mapping[Endpoint, Rules] = {
    Endpoint.CHAT: CHAT,
    Endpoint.COMPLETIONS: PLAIN,
    Endpoint.EMBEDDINGS: PLAIN,
    Endpoint.RESPONSES: RESPONSES,
    Endpoint.MESSAGES: MESSAGES,
}

TOKEN_LISTS: Mapping[Endpoint, str] = {Endpoint.COMPLETIONS: "prompt", Endpoint.EMBEDDINGS: "input"}
"""Members that may hold token ids instead of text, which nobody can search."""
