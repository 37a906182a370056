"""Counting a prompt's tokens: one counter per tokenizer, heavy prompts off the loop, one count per body."""

from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from headrace.ext_proc.core.facts import ESTIMATED, INPUT_TOKENS, Fact
from headrace.ext_proc.core.lenses import Prompt
from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.counting.counter import Counter, bundled
from headrace.ext_proc.engine.counting.mistral import mistral
from headrace.ext_proc.engine.counting.own import template_of, tokenizer_of
from headrace.ext_proc.engine.counting.templates import TEMPLATES, NotRendered, Template
from headrace.ext_proc.engine.policy.models import Model, TemplateFile, TokenizerFile
from headrace.ext_proc.engine.ratios import Ratios

OPENAI = {
    "o200k_base": ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "chatgpt-4o", "o1", "o3", "o4-mini", "text-embedding-"),
    "o200k_harmony": ("gpt-oss",),
    "cl100k_base": ("gpt-4", "gpt-3.5", "text-embedding-"),
}
"""Beginnings of the names of models whose encoding is published (tiktoken/model.py)."""


class Found(NamedTuple):
    """Tokens of a prompt by a tokenizer and a template. exact: whether the template says all of what there is to count."""

    tokens: int
    exact: bool


class Counted(NamedTuple):
    """Tokens of a prompt. estimate: what they were taken for before correction; None where they are counted exactly."""

    tokens: int
    estimate: int | None = None

    @property
    def facts(self) -> dict[Fact[Any], Any]:
        """For the verdict of whoever had the prompt counted."""
        return {INPUT_TOKENS: self.tokens, ESTIMATED: self.estimate}


class Way(NamedTuple):
    """How one model counts. template: None for OpenAI's formula. is_framed, is_own: template and tokenizer are the model's."""

    model: Model
    counter: Counter
    template: Template | None
    is_framed: bool
    is_own: bool


class Tokens:
    """Counts for the models of one policy. base: the directory that tokenizer files are relative to. ratios: of estimates."""

    def __init__(self, base: Path, offload: Offload, ratios: Ratios | None = None) -> None:
        self._base = base
        self._offload = offload
        self._ratios = ratios or Ratios()
        self._ways: dict[str, Way] = {}
        self._files: dict[TokenizerFile, Counter] = {}
        self._templates: dict[TemplateFile, Template] = {}

    async def of_request(self, request: Request, model: Model) -> Counted:
        """Tokens of the request's prompt as it stands: counted once per body, then known as a fact.

        The caller puts the facts of the count into its verdict.
        """
        known = request.facts.get(INPUT_TOKENS)
        if known is not None:
            return Counted(known, request.facts.get(ESTIMATED))
        return await self.of_prompt(request.call.prompt, model)

    async def of_prompt(self, prompt: Prompt, model: Model) -> Counted:
        """Tokens of `prompt` by the model's tokenizer, the template's included; an estimate is corrected by its ratio."""
        return self.corrected(await self.uncorrected(prompt, model), model)

    async def uncorrected(self, prompt: Prompt, model: Model) -> Found:
        """The same for every model with this tokenizer and template."""
        way = self._way(model)
        if sum(map(len, prompt.texts)) > way.counter.inline:
            return await self._offload.run(_found, prompt, way)
        return _found(prompt, way)

    def _way(self, model: Model) -> Way:
        """How the model counts, found once. Raises OSError or ValueError for a file that cannot be read."""
        if (way := self._ways.get(model.name)) is None or way.model is not model:
            counter = self.counter(model)
            way = Way(model, counter, self._template(model, counter), is_framed(model), is_own(model))
            self._ways[model.name] = way
        return way

    def is_cheap(self, prompt: Prompt, model: Model) -> bool:
        """Whether counting takes less time than a decision without a count would save."""
        return isinstance(model.tokenizer, str) and sum(map(len, prompt.texts)) <= self.counter(model).inline

    def at_most(self, prompt: Prompt, model: Model) -> int | None:
        """More than `prompt` has, by its bytes; None where they do not bound it."""
        way = self._way(model)
        if way.counter.most is None:
            return None
        framed = _framed(prompt, way)
        return framed.overhead + sum(map(way.counter.most, framed.texts))

    def _template(self, model: Model, counter: Counter) -> Template | None:
        """None for OpenAI's formula, by which the lens has framed a chat already."""
        if counter.frames is not None:
            return partial(mistral, frames=counter.frames)
        if isinstance(model.template, str):
            return TEMPLATES.get(model.template)
        if (found := self._templates.get(model.template)) is None:
            found = self._templates[model.template] = template_of(self._base, model.template)
        return found

    def corrected(self, found: Found, model: Model) -> Counted:
        """What `found` is for this model."""
        if found.exact and self._way(model).is_own:
            return Counted(found.tokens)
        return Counted(ceil(found.tokens * self._ratios.of(model.name)), found.tokens)

    def of_answer(self, text: str, model: Model) -> int:
        """Tokens of words that were streamed."""
        return self.counter(model)([text]) if text else 0

    def counter(self, model: Model) -> Counter:
        """Raises OSError or ValueError for a tokenizer file that cannot be read."""
        tokenizer = model.tokenizer
        if isinstance(tokenizer, str):
            return bundled(tokenizer)
        if (found := self._files.get(tokenizer)) is None:
            found = self._files[tokenizer] = tokenizer_of(self._base, tokenizer)
        return found


def _found(prompt: Prompt, way: Way) -> Found:
    framed = _framed(prompt, way)
    return Found(framed.overhead + way.counter.count(framed.texts), framed.exact)


def _framed(prompt: Prompt, way: Way) -> Prompt:
    """`prompt` as the model's template has it. What the template refuses stays as it is, an estimate: so will the server."""
    if prompt.chat is None:
        return prompt
    if way.template is None:
        return prompt if way.is_framed else replace(prompt, exact=False)
    try:
        return way.template(prompt.chat)
    except NotRendered:
        return replace(prompt, exact=False)


def is_own(model: Model) -> bool:
    """Whether the tokenizer is the model's: the policy says so, or OpenAI does of a model of this name."""
    if "tokenizer" in model.model_fields_set or isinstance(model.tokenizer, TokenizerFile):
        return True
    return model.name.startswith(OPENAI.get(model.tokenizer, ()))


def is_framed(model: Model) -> bool:
    """Whether the template is the model's: the policy says so, or it is OpenAI's encoding."""
    return "template" in model.model_fields_set or model.tokenizer in OPENAI
