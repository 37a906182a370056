"""Chats as models' templates render them: a prompt framed by OpenAI's formula becomes one framed as the model has it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.lenses import Prompt
from headrace.ext_proc.core.lenses.call import Texts
from headrace.ext_proc.engine.counting.conversation import estimate_tools, turns

Template = Callable[[dict[str, Any]], Prompt]
"""Of the body of a chat. Raises NotRendered."""


class NotRendered(HeadraceError):
    """The template refuses the chat; so will the server."""


def chatml(chat: dict[str, Any]) -> Prompt:
    """`<|im_start|>{role}\\n{content}<|im_end|>\\n`, and `<|im_start|>assistant\\n` before the answer: the chat_template of Qwen's
    tokenizer_config.json. Tools are rendered in words of each model's own.
    """
    texts = Texts()
    for turn in turns(chat, "\n", texts):
        texts.overhead += 3  # the two markers, and the line break after the second
        texts.text(f"{turn.role}\n{turn.text}")
        _estimate_calls(turn.calls, texts)
    texts.overhead += 1
    texts.text("assistant\n")
    estimate_tools(chat, texts)
    return texts.prompt(chat)


def llama3(chat: dict[str, Any]) -> Prompt:
    """`<|start_header_id|>{role}<|end_header_id|>\\n\\n{content}<|eot_id|>` after `<|begin_of_text|>`, and an assistant's empty one
    before the answer; contents are trimmed. The chat_template of Llama 3, and llama_models/llama3/chat_format.py.
    """
    return _llama3(chat, "")


def llama3_1(chat: dict[str, Any]) -> Prompt:
    """The same with a system message that tells the date, whether the chat has one or not: as Llama 3.1 and 3.3 have it."""
    return _llama3(chat, "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n")


def _llama3(chat: dict[str, Any], preamble: str) -> Prompt:
    texts = Texts()
    texts.overhead += 1
    listed = list(turns(chat, "", texts))
    begins = bool(listed) and listed[0].role == "system"
    if preamble:
        _llama3_turn("system", preamble + (listed[0].text.strip() if begins else ""), texts)
    for turn in listed[1:] if preamble and begins else listed:
        _llama3_turn(turn.role, turn.text.strip(), texts)
        _estimate_calls(turn.calls, texts)
    texts.overhead += 2
    texts.text("assistant")
    texts.text("\n\n")
    estimate_tools(chat, texts)
    return texts.prompt(chat)


def _llama3_turn(role: str, text: str, texts: Texts) -> None:
    texts.overhead += 3
    texts.text(role)
    texts.text(f"\n\n{text}")


def _estimate_calls(calls: Any, texts: Texts) -> None:
    for call in calls:
        texts.estimate(call.name)
        texts.estimate(call.arguments)


TEMPLATES: Final[Mapping[str, Template]] = {"chatml": chatml, "llama3": llama3, "llama3.1": llama3_1}
"""By the name that a policy gives. `openai` is the lens's own formula."""
