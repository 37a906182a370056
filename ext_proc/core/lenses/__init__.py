"""Typed readings of request bodies: what the engine and the filters need of a call, whichever API it is written in.

A lens reads the members it names and insists on their types; members it does not name may be anything.
"""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.lenses.anthropic_messages import read_messages
from headrace.ext_proc.core.lenses.call import Call, Prompt, invalid
from headrace.ext_proc.core.lenses.openai_chat import read_chat
from headrace.ext_proc.core.lenses.openai_responses import read_responses
from headrace.ext_proc.core.lenses.openai_texts import read_completions, read_embeddings
from headrace.ext_proc.core.lenses.others import INSTEAD, advise, others_of

__all__ = ["Call", "Prompt", "read_call"]

_READERS: dict[Endpoint, Callable[[dict[str, Any]], Call]] = {
    Endpoint.CHAT: read_chat,
    Endpoint.COMPLETIONS: read_completions,
    Endpoint.EMBEDDINGS: read_embeddings,
    Endpoint.RESPONSES: read_responses,
    Endpoint.MESSAGES: read_messages,
    Endpoint.MESSAGES_COUNT: read_messages,
    Endpoint.RESPONSES_COUNT: read_responses,
}


_CAPS = ("n", "best_of", "max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict")
_TEXTS = ("messages", "input", "prompt", "suffix", "instructions", "system", "tools", "functions", "response_format")
_GOVERNED = frozenset(("model", *INSTEAD, "stream", "stream_options", *_CAPS, *_TEXTS))
"""Members that a decision hangs on."""


_CHATS = (Endpoint.CHAT, Endpoint.MESSAGES, Endpoint.MESSAGES_COUNT)


def read_call(endpoint: Endpoint, document: dict[str, Any]) -> Call:
    """Raises BodyError (400, with `param`) where a member it reads has a type the endpoint's API does not allow, or is there in
    capitals: servers written in Go take `Max_Tokens` for `max_tokens`, others do not. The same for a chat at another call's path.
    """
    if document.get("messages") is not None and endpoint not in _CHATS:  # APISIX's ai-proxy, for one, takes it for a chat by that
        raise invalid("messages", "absent: this path is for no chat")
    for name in document:
        if not (name.isascii() and name.islower()) and name.casefold() in _GOVERNED:
            raise invalid(name, f"written {name.casefold()!r}")
    call = _READERS[endpoint](document)
    if endpoint.counts:
        call = replace(call, stream=False, output_cap=0)
    others = others_of(document)
    return replace(call, others=others, beside=call.beside or advise(others)) if others else call
