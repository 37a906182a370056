"""OpenAI responses. The prompt's framing is not published: counts of item lists are estimates by the chat formula."""

import json
from typing import Any

from headrace.ext_proc.core.lenses.call import Call, Texts, cap_of, invalid, model_of, stream_of
from headrace.ext_proc.core.lenses.openai_chat import PER_MESSAGE, PRIMING


def read_responses(document: dict[str, Any]) -> Call:
    texts = Texts()
    texts.estimate(tokens=PRIMING)
    for name in ("instructions", "tools", "text", "prompt"):
        if document.get(name):
            texts.text(document[name])
    _input(texts, document.get("input"))
    return Call(
        model=model_of(document),
        stream=stream_of(document),
        output_cap=cap_of(document, "max_output_tokens"),
        choices=1,
        prompt=texts.prompt(),
    )


def _input(texts: Texts, value: Any) -> None:
    if value is None or isinstance(value, str):
        texts.estimate(tokens=PER_MESSAGE)
        texts.text(value)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _item(texts, item, f"input[{index}]")
    else:
        raise invalid("input", "a string or a list of items")


def _item(texts: Texts, item: Any, param: str) -> None:
    if not isinstance(item, dict):
        raise invalid(param, "an object")
    texts.estimate(tokens=PER_MESSAGE)
    if "content" in item and item.get("type") in (None, "message"):
        texts.text(item.get("role"))
        texts.content(item["content"], f"{param}.content")
    else:
        texts.estimate(json.dumps(item))
