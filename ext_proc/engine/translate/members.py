"""The members of a request that a translation knows: what it carries over, and the hints it drops (docs/filters/routing.md)."""

from typing import Final

_CARRIED_CHATS: Final = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "stream", "stream_options", "temperature", "top_p",
        "stop", "user", "safety_identifier", "n", "tools", "tool_choice", "parallel_tool_calls", "response_format",
        "modalities", "reasoning_effort",
    }
)  # fmt: skip

_DROPPED_CHATS: Final = frozenset(
    {
        "seed", "frequency_penalty", "presence_penalty", "repetition_penalty", "top_k", "min_p", "thinking", "verbosity",
        "service_tier", "store", "metadata", "prediction", "prompt_cache_key", "prompt_cache_retention",
        "prompt_cache_options", "cache_control",
    }
)  # fmt: skip

_CARRIED_MESSAGES: Final = frozenset(
    {
        "model", "messages", "system", "max_tokens", "stop_sequences", "stream", "temperature", "top_p", "metadata",
        "tools", "tool_choice", "output_config", "output_format", "thinking", "context_management",
    }
)  # fmt: skip

_DROPPED_MESSAGES: Final = frozenset(
    {
        "top_k", "service_tier", "speed", "cache_control", "diagnostics",
    }
)  # fmt: skip

OF_CHATS: Final = _CARRIED_CHATS | _DROPPED_CHATS
"""Of OpenAI's chat completions."""
OF_MESSAGES: Final = _CARRIED_MESSAGES | _DROPPED_MESSAGES
"""Of Anthropic's messages."""
