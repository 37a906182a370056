"""Which members of a request are no text, by endpoint. A member that is not here is searched.

Sources: the OpenAI and Anthropic API references. Words of the protocol are listed because a search would find dates in model
names and numbers in ids, and break the call; see `strings` for what a word must look like.
"""

from collections.abc import Mapping

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.filters.pii.strings import Kind, Rule, Rules

_WORD, _MEDIA, _JSON, _FREE = Kind.WORD, Kind.MEDIA, Kind.EMBEDDED, Kind.FREE


def _words(*names: str) -> dict[str, Rule]:
    return dict.fromkeys(names, _WORD)


_CACHE: Rules = _words("type", "ttl")
_SAMPLING: Rules = {
    **_words("model", "service_tier", "reasoning_effort", "verbosity", "modalities", "stream", "stream_options", "truncation"),
    **_words("max_tokens", "max_completion_tokens", "max_output_tokens", "temperature", "top_p", "top_k", "n", "seed", "logprobs"),
    **_words("top_logprobs", "presence_penalty", "frequency_penalty", "parallel_tool_calls", "store", "prompt_cache_retention"),
    "logit_bias": {"*": _WORD},
    "metadata": _FREE,
    "user": Kind.TEXT,
    "stop": Kind.TEXT,
}
# A schema names the dialect it is written in by a URL.
_SCHEMA: Rules = _words("$schema", "$id", "$ref")
_FUNCTION: Rules = {"name": _WORD, "arguments": _JSON, "description": Kind.TEXT, "parameters": _SCHEMA, "strict": _WORD}
_TOOL: Rules = {"": _WORD, **_words("type", "name", "mode", "strict"), "function": _FUNCTION, "custom": {"name": _WORD}}

_CHAT_PART: Rules = {
    **_words("type"),
    "text": Kind.TEXT,
    "image_url": {"": _MEDIA, "url": _MEDIA, "detail": _WORD},
    "input_audio": {"data": _MEDIA, "format": _WORD},
    "file": {"file_data": _MEDIA, "file_id": _WORD, "filename": Kind.TEXT},
    "cache_control": _CACHE,
}
_CHAT_MESSAGE: Rules = {
    **_words("role", "tool_call_id"),
    "content": _CHAT_PART,
    "tool_calls": {**_words("id", "type", "index"), "function": _FUNCTION, "custom": {"name": _WORD}},
    "function_call": _FUNCTION,
    "audio": _words("id"),
    "name": Kind.TEXT,
}
CHAT: Rules = {
    **_SAMPLING,
    "messages": _CHAT_MESSAGE,
    "tools": _TOOL,
    "tool_choice": _TOOL,
    "functions": _FUNCTION,
    "function_call": {"": _WORD, "name": _WORD},
    "response_format": {"type": _WORD, "json_schema": {"name": _WORD, "strict": _WORD, "schema": _SCHEMA}},
    "audio": _words("voice", "format"),
    "prediction": {"type": _WORD, "content": _CHAT_PART},
}

_RESPONSES_PART: Rules = {
    **_words("type", "detail", "file_id"),
    "text": Kind.TEXT,
    "image_url": _MEDIA,
    "file_data": _MEDIA,
    "input_audio": {"data": _MEDIA, "format": _WORD},
}
RESPONSES: Rules = {
    **_SAMPLING,
    **_words("previous_response_id", "include", "background"),
    "input": {
        **_words("type", "role", "id", "status", "call_id", "name"),
        "arguments": _JSON,
        "content": _RESPONSES_PART,
        "output": _RESPONSES_PART,
        "encrypted_content": _MEDIA,
    },
    "tools": {**_TOOL, **_words("vector_store_ids"), "parameters": _SCHEMA},
    "tool_choice": _TOOL,
    "text": {"format": {**_words("type", "name", "strict"), "schema": _SCHEMA}, "verbosity": _WORD},
    "reasoning": _words("effort", "summary"),
    "conversation": {"": _WORD, "id": _WORD},
    "prompt": {"id": _WORD, "version": _WORD, "variables": {"*": _RESPONSES_PART}},
}

_BLOCK_MEMBERS: Rules = {
    **_words("type", "id", "tool_use_id", "name", "is_error"),
    "text": Kind.TEXT,
    "input": _FREE,
    "source": {**_words("type", "media_type", "file_id"), "data": _MEDIA, "url": _MEDIA},
    "signature": _MEDIA,
    "data": _MEDIA,
    "cache_control": _CACHE,
}
_BLOCK: Rules = {**_BLOCK_MEMBERS, "content": _BLOCK_MEMBERS}
MESSAGES: Rules = {
    **_SAMPLING,
    **_words("container"),
    "system": _BLOCK,
    "messages": {"role": _WORD, "content": _BLOCK},
    "tools": {**_words("type", "name"), "cache_control": _CACHE, "input_schema": _SCHEMA},
    "tool_choice": _words("type", "name", "disable_parallel_tool_use"),
    "thinking": _words("type", "budget_tokens"),
    "stop_sequences": Kind.TEXT,
}

PLAIN: Rules = {
    **_SAMPLING,
    **_words("encoding_format", "dimensions", "best_of", "echo"),
    "input": Kind.TEXT,
    "prompt": Kind.TEXT,
    "suffix": Kind.TEXT,
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
