"""OpenAI chat completions. Formula: https://cookbook.openai.com/examples/how_to_count_tokens_with_tiktoken"""

import json
from typing import Any

from headrace.ext_proc.core.lenses.call import (
    MAX_CHOICES,
    Call,
    Texts,
    cap_of,
    count_of,
    include_usage_of,
    model_of,
    objects_of,
    stream_of,
)
from headrace.ext_proc.core.lenses.functions import declare

PER_MESSAGE = 3
PER_NAME = 1
PRIMING = 3
"""Every answer is primed with `<|start|>assistant<|message|>`."""

_COUNTED = frozenset({"role", "content", "name", "tool_call_id"})
"""Members of a message that the formula counts, or leaves out; templates may render any other one (tool calls, reasoning)."""


def read_chat(document: dict[str, Any]) -> Call:
    texts = Texts()
    texts.overhead += PRIMING
    for index, message in enumerate(objects_of(document, "messages")):
        _message(texts, message, f"messages[{index}]")
    if document.get("tools"):
        declare(texts, document["tools"])
    for name in ("functions", "response_format"):
        if document.get(name):
            texts.estimate(json.dumps(document[name]))
    return Call(
        model=model_of(document),
        stream=stream_of(document),
        output_cap=cap_of(document, "max_completion_tokens", "max_tokens"),
        choices=count_of(document, "n", MAX_CHOICES),
        prompt=texts.prompt(document),
        include_usage=include_usage_of(document),
    )


def _message(texts: Texts, message: dict[str, Any], param: str) -> None:
    texts.overhead += PER_MESSAGE
    texts.text(message.get("role"))
    texts.content(message.get("content"), f"{param}.content")
    if message.get("name") is not None:
        texts.overhead += PER_NAME
        texts.text(message["name"])
    for name, value in message.items():
        if name not in _COUNTED and value:
            texts.estimate(json.dumps(value))
