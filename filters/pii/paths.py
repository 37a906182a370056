"""Which members of a request are no text, by endpoint. A member that is not here is searched.

Sources: the OpenAI and Anthropic API references. Words of the protocol are listed because a search would find dates in model
names and numbers in ids, and break the call; see `strings` for what a word must look like. Where a number or a truth value
belongs, a string is a mistake or a hiding place, and so text.
"""

from collections.abc import Mapping

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.filters.pii.strings import OF_TYPE, OTHERS, Kind, Rule, Rules

_WORD, _TEXT, _MEDIA, _JSON, _FREE, _FILE = Kind.WORD, Kind.TEXT, Kind.MEDIA, Kind.EMBEDDED, Kind.FREE, Kind.REFERENCE
_LINK, _CREDENTIAL, _SIGNED = Kind.LINK, Kind.CREDENTIAL, Kind.SIGNED


def _words(*names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, _WORD)


def _texts(*names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, _TEXT)


_CACHE: Rules = _words("type", "ttl", "mode")
# Settings: words at whatever depth.
_SETTINGS: Rules = {"": _WORD}
_SETTINGS["*"] = _SETTINGS
_SAMPLING: Rules = {
    **dict.fromkeys(("prompt_cache_options", "context_management", "moderation"), _SETTINGS),
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
_ANNOTATION: Rules = {**_words("type"), **_texts("url", "title", "filename"), "file_id": _FILE, "container_id": _FILE}
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
    "prompt_cache_breakpoint": _CACHE,
}
# OpenRouter's, and LiteLLM's: what Anthropic signed is the same there.
_REASONING: Rules = {
    **_words("type", "id", "format", "index"),
    **dict.fromkeys(("text", "summary", "thinking"), _SIGNED),
    **dict.fromkeys(("signature", "data"), _MEDIA),
}
_CHAT_MESSAGE: Rules = {
    **_words("role", "tool_call_id"),
    **_texts("name", "refusal", "reasoning", "reasoning_content"),
    "content": _CHAT_PART,
    "tool_calls": {
        **_words("id", "type", "index"),
        "function": _FUNCTION,
        "custom": _CUSTOM,
        "extra_content": {"google": {"thought_signature": _MEDIA}},
    },
    "function_call": _FUNCTION,
    "audio": {"id": _FILE},
    **dict.fromkeys(("reasoning_details", "thinking_blocks"), _REASONING),
    "annotations": {"type": _WORD, "url_citation": _ANNOTATION},
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
    "audio": {"voice": {"": _WORD, "id": _FILE}, "format": _WORD},
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
    **_texts("stdout", "stderr"),
    "outcome": _words("type"),
    "annotations": _ANNOTATION,
    "prompt_cache_breakpoint": _CACHE,
}
_CHECK: Rules = {**_words("id", "code"), "message": _TEXT}
_ITEM: Rules = {
    "": _TEXT,
    **_words("type", "role", "id", "status", "call_id", "name", "server_label", "approval_request_id", "approve", "phase"),
    **_texts("reason", "input", "code", "error"),
    "arguments": _JSON,
    "content": _RESPONSES_PART,
    "output": _RESPONSES_PART,
    "summary": _RESPONSES_PART,
    **dict.fromkeys(("encrypted_content", "result", "image_url", "file_data"), _MEDIA),
    **dict.fromkeys(("text", "action", "results", "outputs", "queries"), _FREE),
    "file_id": _FILE,
    "container_id": _FILE,
    "operation": {"type": _WORD, **_texts("path", "diff")},
    "pending_safety_checks": _CHECK,
    "acknowledged_safety_checks": _CHECK,
    "tools": {"name": _WORD, "description": _TEXT, "input_schema": _SCHEMA, "annotations": _FREE},
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
        **_words("server_label", "search_context_size", "connector_id", "environment", "defer_loading"),
        **_words("model", "size", "quality", "background", "output_format", "moderation", "input_fidelity", "action"),
        "require_approval": _SETTINGS,
        "ranking_options": _SETTINGS,
        "input_image_mask": {"file_id": _FILE, "image_url": _MEDIA},
        **_texts("server_description", "allowed_tools"),
        "server_url": _LINK,
        "authorization": _CREDENTIAL,
        "headers": {OTHERS: _CREDENTIAL},
        "filters": {"": _FREE, OTHERS: _FREE, "allowed_domains": _LINK, "blocked_domains": _LINK},
        "user_location": _PLACE,
    },
    "tool_choice": _TOOL,
    "text": {"format": {**_words("type", "name", "strict"), "description": _TEXT, "schema": _SCHEMA}, "verbosity": _WORD},
    "reasoning": _words("effort", "summary", "generate_summary"),
    "prompt": {"id": _FILE, "version": _WORD, "variables": {OTHERS: {**_RESPONSES_PART, "": _FREE}}},
}

_SOURCE: Rules = {**_words("type", "media_type"), "file_id": _FILE, "data": _MEDIA, "url": _MEDIA}
_BLOCK: Rules = {
    **_words("type", "id", "tool_use_id", "name", "is_error", "file_id", "server_name"),
    **_texts("text", "title", "context", "url", "page_age", "stdout", "stderr"),
    "caller": _words("type", "tool_id"),
    "thinking": _SIGNED,
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
    "container": {"": _FILE, "id": _FILE, "skills": _words("type", "skill_id", "version")},
    "cache_control": _CACHE,
    "mcp_servers": {
        **_words("type", "name"),
        "url": _LINK,
        "authorization_token": _CREDENTIAL,
        "tool_configuration": {"enabled": _WORD, "allowed_tools": _TEXT},
    },
    "output_config": {"effort": _WORD, "format": {"type": _WORD, "schema": _SCHEMA}},
    "output_format": {"type": _WORD, "schema": _SCHEMA},
    **_words("inference_geo", "speed"),
    "system": _BLOCK,
    "messages": {"role": _WORD, "content": _BLOCK},
    "tools": {
        **_words("type", "name", "max_uses", "strict", "defer_loading", "allowed_callers", "mcp_server_name"),
        "input_examples": _FREE,
        "description": _TEXT,
        "cache_control": _CACHE,
        "input_schema": _SCHEMA,
        **dict.fromkeys(("allowed_domains", "blocked_domains"), _LINK),
        "user_location": _PLACE,
    },
    "tool_choice": _words("type", "name", "disable_parallel_tool_use"),
    "thinking": _words("type", "budget_tokens", "display"),
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
