"""Counting a prompt's tokens: one counter per tokenizer, heavy prompts off the loop, one count per body."""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple
from unicodedata import normalize

import toktok

from headrace.ext_proc.core.facts import ESTIMATED, INPUT_TOKENS, Fact
from headrace.ext_proc.core.lenses import Prompt
from headrace.ext_proc.core.lenses.openai_chat import PER_MESSAGE, PRIMING
from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.policy.models import Model, TokenizerFile
from headrace.ext_proc.engine.ratios import Ratios

INLINE_CHARACTERS = 64 * 1024
"""Up to here counting takes well under a millisecond; beyond, it goes off the loop."""

Count = Callable[[Sequence[str]], int]


OPENAI = {
    "o200k_base": ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "chatgpt-4o", "o1", "o3", "o4-mini", "text-embedding-"),
    "o200k_harmony": ("gpt-oss",),
    "cl100k_base": ("gpt-4", "gpt-3.5", "text-embedding-"),
}
"""Beginnings of the names of models whose encoding is published (tiktoken/model.py)."""


class Frame(NamedTuple):
    """Tokens around a chat's messages, beside those of role and content."""

    message: int
    answer: int


FRAMES = {
    "openai": Frame(PER_MESSAGE, PRIMING),
    "chatml": Frame(4, 3),
}
"""chatml: `<|im_start|>{role}\\n{content}<|im_end|>\\n`, and `<|im_start|>assistant\\n` before the answer (the chat_template of
Qwen's tokenizer_config.json). Its line break after the role joins with one that begins a message, which is then one token too many.
"""


class Counted(NamedTuple):
    """Tokens of a prompt. estimate: what they were taken for before correction; None where they are counted exactly."""

    tokens: int
    estimate: int | None = None

    @property
    def facts(self) -> dict[Fact[Any], Any]:
        """For the verdict of whoever had the prompt counted."""
        return {INPUT_TOKENS: self.tokens, ESTIMATED: self.estimate}


class Tokens:
    """Counts for the models of one policy. base: the directory that tokenizer files are relative to. ratios: of estimates."""

    def __init__(self, base: Path, offload: Offload, ratios: Ratios | None = None) -> None:
        self._base = base
        self._offload = offload
        self._ratios = ratios or Ratios()

    async def of_request(self, request: Request, model: Model) -> Counted:
        """Tokens of the request's prompt as it stands: counted once per body, then known as a fact.

        The caller puts the facts of the count into its verdict.
        """
        known = request.facts.get(INPUT_TOKENS)
        if known is not None:
            return Counted(known, request.facts.get(ESTIMATED))
        return await self.of_prompt(request.call.prompt, model)

    async def of_prompt(self, prompt: Prompt, model: Model) -> Counted:
        """Tokens of `prompt` by the model's tokenizer, the API's overhead included; an estimate is corrected by its ratio."""
        return self.corrected(await self.uncorrected(prompt, model), prompt, model)

    async def uncorrected(self, prompt: Prompt, model: Model) -> int:
        """The same for every model with this tokenizer and template."""
        count, overhead = self.counter(model), prompt.overhead + _framing(prompt, model)
        if sum(map(len, prompt.texts)) > INLINE_CHARACTERS:
            return overhead + await self._offload.run(count, prompt.texts)
        return overhead + count(prompt.texts)

    def is_cheap(self, prompt: Prompt, model: Model) -> bool:
        """Whether counting takes less time than a decision without a count would save."""
        return isinstance(model.tokenizer, str) and sum(map(len, prompt.texts)) <= INLINE_CHARACTERS

    def corrected(self, found: int, prompt: Prompt, model: Model) -> Counted:
        """What `found` tokens of `prompt` are for this model."""
        if prompt.exact and is_own(model) and (not prompt.messages or is_framed(model)):
            return Counted(found)
        return Counted(ceil(found * self._ratios.of(model.name)), found)

    def of_answer(self, text: str, model: Model) -> int:
        """Tokens of words that were streamed."""
        return self.counter(model)([text]) if text else 0

    def counter(self, model: Model) -> Count:
        """Raises OSError or ValueError for a tokenizer file that cannot be read."""
        tokenizer = model.tokenizer
        if isinstance(tokenizer, TokenizerFile):
            return _from_file(self._base / tokenizer.file)
        return _bundled(tokenizer)


def is_own(model: Model) -> bool:
    """Whether the tokenizer is the model's: the policy says so, or OpenAI does of a model of this name."""
    if "tokenizer" in model.model_fields_set or isinstance(model.tokenizer, TokenizerFile):
        return True
    return model.name.startswith(OPENAI.get(model.tokenizer, ()))


def is_framed(model: Model) -> bool:
    """Whether the template is the model's: the policy says so, or it is OpenAI's encoding."""
    return "template" in model.model_fields_set or model.tokenizer in OPENAI


def _framing(prompt: Prompt, model: Model) -> int:
    """Tokens that the model's template adds, beyond what OpenAI's formula has in the prompt's overhead."""
    if not prompt.messages:
        return 0
    own, counted = FRAMES[model.template], FRAMES["openai"]
    return (own.message - counted.message) * prompt.messages + own.answer - counted.answer


@lru_cache(16)
def _bundled(encoding: str) -> Count:
    # The public batch_count costs 30 µs a call, this 0.5 µs; both count alike (tests compare them with tiktoken).
    tokenizer = toktok._encoding(encoding)
    form = partial(normalize, "NFC") if encoding == "qwen3.5" else str  # Qwen's own tokenizer normalises first

    def count(texts: Sequence[str]) -> int:
        return sum(tokenizer.count(form(_encodable(text))) for text in texts)

    return count


@lru_cache(16)
def _from_file(path: Path) -> Count:
    from tokenizers import Tokenizer

    content = path.read_text("utf-8")
    try:
        tokenizer = Tokenizer.from_str(content)
    except Exception as error:  # the library raises plain Exception
        raise ValueError(f"{path} is not a tokenizer.json: {error}") from error

    def count(texts: Sequence[str]) -> int:
        # The batch call is the one that releases the GIL.
        return sum(len(encoding) for encoding in tokenizer.encode_batch_fast([_encodable(text) for text in texts], False))

    return count


def _encodable(text: str) -> str:
    """`text` with lone surrogates replaced: UTF-8 cannot carry them, and neither does what the model sees."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
