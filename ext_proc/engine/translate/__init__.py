"""Chats between OpenAI's and Anthropic's API: requests, answers, streams and errors, in both directions. Pure.

Sources: https://platform.openai.com/docs/api-reference/chat, https://docs.anthropic.com/en/api/messages and …/messages-streaming.

What has no counterpart is left out where it changes nothing that the caller relies on (`metadata.user_id` of one is the other's
`user`), and refused where it does: several choices, audio, a response format, hosted tools.
"""

from headrace.ext_proc.engine.translate.asking import translated
from headrace.ext_proc.engine.translate.translators import TO_ANTHROPIC, TO_OPENAI, Translator, translator_for
from headrace.ext_proc.engine.translate.values import Untranslatable

__all__ = ["TO_ANTHROPIC", "TO_OPENAI", "Translator", "Untranslatable", "translated", "translator_for"]
