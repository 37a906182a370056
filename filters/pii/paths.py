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
    **dict.fromkeys(("prompt_cache_options", "context_management", "moderation", "access_programs", "image"), _SETTINGS),
    **_words("model", "models", "service_tier", "reasoning_effort", "verbosity", "modalities", "truncation"),
    "prompt_cache_retention": _WORD,
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
_GRAMMAR: Rules = {"": _TEXT, "syntax": _WORD, "definition": _TEXT}
_FORMAT: Rules = {"type": _WORD, **_GRAMMAR, "grammar": _GRAMMAR}
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
    "logprobs": {"token": _TEXT, "top_logprobs": {"token": _TEXT}},
}
_NETWORK: Rules = {
    "type": _WORD,
    "allowed_domains": _LINK,
    "domain_secrets": {"name": _WORD, "domain": _LINK, "value": _CREDENTIAL},
}
_SKILL: Rules = {
    **_words("type", "skill_id", "version", "name"),
    **_texts("description", "path"),
    "source": {**_words("type", "media_type"), "data": _MEDIA},
}
# Where a tool of the provider runs: a name, an id, or what it is made of.
_ENVIRONMENT: Rules = {
    "": _WORD,
    **_words("type", "memory_limit"),
    **dict.fromkeys(("container_id", "file_ids"), _FILE),
    "network_policy": _NETWORK,
    "skills": _SKILL,
}
_RESPONSES_TOOL: Rules = {
    **_TOOL,
    **dict.fromkeys(("parameters", "output_schema", "input_schema"), _SCHEMA),
    **dict.fromkeys(("vector_store_ids", "annotations"), _FREE),
    **dict.fromkeys(("environment", "container"), _ENVIRONMENT),
    **_words("server_label", "search_context_size", "connector_id", "tunnel_id", "defer_loading", "execution", "complexity"),
    **_words("model", "size", "quality", "background", "output_format", "moderation", "input_fidelity", "action"),
    **_words("allowed_callers", "search_content_types"),
    **dict.fromkeys(("require_approval", "ranking_options", "svg"), _SETTINGS),
    "input_image_mask": {"file_id": _FILE, "image_url": _MEDIA},
    "server_description": _TEXT,
    "allowed_tools": {"": _TEXT, "tool_names": _TEXT, "read_only": _WORD},
    "server_url": _LINK,
    "authorization": _CREDENTIAL,
    "headers": {OTHERS: _CREDENTIAL},
    "filters": {"": _FREE, OTHERS: _FREE, "allowed_domains": _LINK, "blocked_domains": _LINK},
    "user_location": _PLACE,
}
_RESPONSES_TOOL["tools"] = _RESPONSES_TOOL
_CHECK: Rules = {**_words("id", "code"), "message": _TEXT}
_ITEM: Rules = {
    "": _TEXT,
    **_words("type", "role", "id", "status", "call_id", "name", "server_label", "approval_request_id", "approve", "phase"),
    **_words("namespace", "execution", "fingerprint", "background", "quality", "size", "output_format"),
    **_texts("reason", "input", "code", "revised_prompt"),
    "error": {**_words("type", "code", "param"), "message": _TEXT, "content": _FREE, "moderation_details": _SETTINGS},
    "arguments": {"": _JSON, OTHERS: _FREE},
    "caller": _words("type", "caller_id"),
    "environment": _ENVIRONMENT,
    **dict.fromkeys(("reasoning", "svg_usage"), _SETTINGS),
    "content": _RESPONSES_PART,
    "output": _RESPONSES_PART,
    "summary": _RESPONSES_PART,
    **dict.fromkeys(("encrypted_content", "result", "image_url", "file_data"), _MEDIA),
    **dict.fromkeys(("text", "action", "actions", "results", "outputs", "queries"), _FREE),
    "file_id": _FILE,
    "container_id": _FILE,
    "operation": {"type": _WORD, **_texts("path", "diff")},
    "pending_safety_checks": _CHECK,
    "acknowledged_safety_checks": _CHECK,
    "tools": _RESPONSES_TOOL,
}
RESPONSES: Rules = {
    **_SAMPLING,
    **_words("include", "background", "max_tool_calls"),
    "previous_response_id": _FILE,
    "conversation": {"": _FILE, "id": _FILE},
    "client_metadata": _FREE,  # Codex's
    "instructions": _ITEM,
    "input": _ITEM,
    "tools": _RESPONSES_TOOL,
    "tool_choice": {**_TOOL, "server_label": _WORD},
    "text": {"format": {**_words("type", "name", "strict"), "description": _TEXT, "schema": _SCHEMA}, "verbosity": _WORD},
    "reasoning": _words("effort", "summary", "generate_summary", "context", "mode"),
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
_CLIENT_TOOL: Rules = {
    **_words("type", "name", "max_uses", "strict", "defer_loading", "allowed_callers", "mcp_server_name", "model"),
    **_words("response_inclusion"),
    "input_examples": _FREE,
    "description": _TEXT,
    **dict.fromkeys(("cache_control", "caching"), _CACHE),
    "input_schema": _SCHEMA,
    **dict.fromkeys(("allowed_domains", "blocked_domains"), _LINK),
    "user_location": _PLACE,
    **dict.fromkeys(("configs", "default_config", "url_sources"), _SETTINGS),
}
_CLIENT_TOOL["tools"] = _CLIENT_TOOL
# Tools that come and go within a conversation.
_CHANGE: Rules = {**_words("type", "name", "server_name"), "definition": _CLIENT_TOOL, "cache_control": _CACHE}
_CHANGE["tool"] = _CHANGE
_BLOCK |= {"tool": _CHANGE, "tool_changes": _CHANGE, "tools": _CLIENT_TOOL, "toolset_name": _WORD}
_BLOCK |= dict.fromkeys(("trigger", "transformations", "from", "to"), _SETTINGS)
_BLOCK |= {"encrypted_stdout": _MEDIA, **_texts("lines", "error_message", "error", "path")}
_BLOCK |= _words("error_code", "file_type", "retrieved_at", "stop_reason", "tool_name", "mcp_server_name", "tab_id", "download_id")
_BLOCK |= dict.fromkeys(("tool_references", "state_changes", "tabs"), _BLOCK)
_BLOCK["source"] = {**_SOURCE, OF_TYPE: {"text": {**_SOURCE, "data": _TEXT}}}
_EARLIER: Rules = {"type": _WORD, "previous_message_id": _FILE}
_OUTPUT: Rules = {"effort": _WORD, "format": {"type": _WORD, "schema": _SCHEMA}, "task_budget": _SETTINGS}
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
    "output_config": _OUTPUT,
    "fallbacks": {"": _WORD, **_words("model", "speed"), "thinking": _SETTINGS, "output_config": _OUTPUT},
    "fallback_credit_token": {"": _CREDENTIAL, "mode": _WORD, "token": _CREDENTIAL},
    **dict.fromkeys(("thread", "diagnostics"), _EARLIER),
    "billing_policy": _SETTINGS,
    "compaction": {"type": _WORD, "instructions": _TEXT},
    "output_format": {"type": _WORD, "schema": _SCHEMA},
    **_words("inference_geo", "speed"),
    "system": _BLOCK,
    "messages": {"role": _WORD, "content": _BLOCK, "output_config": _OUTPUT, "clear_at": _SETTINGS},
    "tools": _CLIENT_TOOL,
    "tool_choice": _words("type", "name", "disable_parallel_tool_use"),
    "thinking": {**_words("type", "budget_tokens", "display"), "block_binding": _SETTINGS},
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
    Endpoint.MESSAGES_COUNT: MESSAGES,
    Endpoint.RESPONSES_COUNT: RESPONSES,
}

TOKEN_LISTS: Mapping[Endpoint, str] = {Endpoint.COMPLETIONS: "prompt", Endpoint.EMBEDDINGS: "input"}
"""Members that may hold token ids instead of text, which nobody can search."""
