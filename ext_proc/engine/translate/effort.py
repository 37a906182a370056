"""How hard a model is to think: `reasoning_effort` of one API, `output_config.effort` of the other."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, get_args

from headrace.ext_proc.engine.translate.values import Document, mapping

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]

_LADDER: Final[Sequence[str]] = get_args(Effort)


def to_anthropic(document: Mapping[str, Any], taken: Sequence[str]) -> Document:
    """The members for what a chat completion asks for; none where the model takes no effort. taken: those that it takes."""
    effort = _nearest(document.get("reasoning_effort"), taken)
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    return {"output_config": {"effort": effort}} if effort else {}


def to_openai(document: Mapping[str, Any], taken: Sequence[str]) -> Document:
    """As to_anthropic, for Anthropic's messages."""
    disabled = mapping(document.get("thinking")).get("type") == "disabled"
    effort = _nearest("none" if disabled else mapping(document.get("output_config")).get("effort"), taken)
    return {"reasoning_effort": effort} if effort else {}


def _nearest(asked: Any, taken: Sequence[str]) -> str | None:
    """The highest one taken that is not above what was asked for; where all of them are, the lowest."""
    if asked not in _LADDER or not taken:
        return None
    known = sorted(taken, key=_LADDER.index)
    return next((one for one in reversed(known) if _LADDER.index(one) <= _LADDER.index(asked)), known[0])
