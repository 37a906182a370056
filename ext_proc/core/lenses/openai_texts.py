"""OpenAI embeddings and legacy completions: bare texts, or token ids, without a chat formula."""

from typing import Any

from headrace.ext_proc.core.lenses.call import (
    MAX_CHOICES,
    Call,
    Texts,
    cap_of,
    count_of,
    include_usage_of,
    invalid,
    model_of,
    stream_of,
)

MAX_PROMPTS = 2048
"""OpenAI's limit; each is answered up to the cap, so that more would let one request reserve without bound."""


def read_embeddings(document: dict[str, Any]) -> Call:
    texts = Texts()
    _inputs(texts, document.get("input"), "input")
    return Call(model=model_of(document), stream=False, output_cap=0, choices=1, prompt=texts.prompt())


def read_completions(document: dict[str, Any]) -> Call:
    texts = Texts()
    prompts = _inputs(texts, document.get("prompt", ""), "prompt")
    if prompts > MAX_PROMPTS:
        raise invalid("prompt", f"at most {MAX_PROMPTS} prompts")
    texts.text(document.get("suffix"))
    each = max(count_of(document, "n", MAX_CHOICES), count_of(document, "best_of", MAX_CHOICES))
    return Call(
        model=model_of(document),
        stream=stream_of(document),
        output_cap=cap_of(document, "max_tokens", least=0),  # 0 with `echo`
        choices=each * prompts,
        prompt=texts.prompt(),
        include_usage=include_usage_of(document),
    )


def _inputs(texts: Texts, value: Any, param: str) -> int:
    """A text, a list of texts, a list of token ids, or a list of such lists; returns how many inputs that is."""
    items = value if isinstance(value, list) else [value]
    if not items:
        raise invalid(param, "at least one text")
    if all(_is_token(item) for item in items):
        texts.overhead += len(items)
        return 1
    for item in items:
        _input(texts, item, param)
    return len(items)


def _input(texts: Texts, item: Any, param: str) -> None:
    if isinstance(item, str):
        texts.text(item)
    elif isinstance(item, list) and all(_is_token(token) for token in item):
        texts.overhead += len(item)
    else:
        raise invalid(param, "a string, a list of strings, or lists of token ids")


def _is_token(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool)
