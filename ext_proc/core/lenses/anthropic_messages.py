"""Anthropic messages. Claude has no public tokenizer: every count is an estimate."""

import json
from typing import Any

from headrace.ext_proc.core.lenses.call import Call, Texts, cap_of, model_of, objects_of, stream_of
from headrace.ext_proc.core.lenses.openai_chat import PER_MESSAGE, PRIMING


def read_messages(document: dict[str, Any]) -> Call:
    texts = Texts()
    texts.estimate(tokens=PRIMING)
    texts.content(document.get("system"), "system")
    for index, message in enumerate(objects_of(document, "messages")):
        texts.overhead += PER_MESSAGE
        texts.text(message.get("role"))
        texts.content(message.get("content"), f"messages[{index}].content")
    if document.get("tools"):
        texts.estimate(json.dumps(document["tools"]))
    return Call(
        model=model_of(document),
        stream=stream_of(document),
        output_cap=cap_of(document, "max_tokens", least=0),  # 0 fills the cache alone
        choices=1,
        prompt=texts.prompt(),
        beside=_compacts(document.get("context_management")),
    )


def _compacts(management: Any) -> bool:
    """Whether the conversation may be summarised first, by this model (https://docs.anthropic.com/en/docs/build-with-claude/compaction)."""
    edits = management.get("edits") if isinstance(management, dict) else None
    return isinstance(edits, list) and any(isinstance(edit, dict) and str(edit.get("type")).startswith("compact") for edit in edits)
