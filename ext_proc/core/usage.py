"""What a call used, read from the provider's own `usage`, whole or event by event."""

from collections.abc import Mapping
from functools import reduce
from typing import Any

from msgspec import Struct

from headrace.ext_proc.core.sse import SseEvent

MAX_TIER = 32
"""Characters of a service tier's name; it goes into records."""


class Usage(Struct, frozen=True):
    """Tokens of one call. cached_tokens and cache_write_tokens are part of input_tokens, reasoning_tokens part of output_tokens.

    cache_write_1h_tokens: part of cache_write_tokens, kept by the provider for an hour. service_tier: as the provider names it.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    service_tier: str = ""

    @property
    def members(self) -> dict[str, int | str]:
        """For records."""
        found: dict[str, int | str] = {
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cached_tokens": self.cached_tokens,
            "reasoning_tokens": self.reasoning_tokens,
        }
        for name in _RARE:
            if value := getattr(self, name):
                found[name] = value
        return found

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens


_RARE = ("cache_write_tokens", "cache_write_1h_tokens", "service_tier")

_ANSWER = ("completion_tokens", "output_tokens")

_NUMBERS = (int, float)  # `int | float` would be made anew for every member


def counted(members: Mapping[str, Any], *names: str) -> int | None:
    """The first of the named members that is a count; None when there is none."""
    for name in names:
        value = members.get(name)
        if isinstance(value, _NUMBERS) and not isinstance(value, bool) and 0 <= value < 2**53:
            return int(value)
    return None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def usage_of(members: Any, service_tier: Any = None) -> Usage | None:
    """A provider's `usage` member, in any of the dialects, or None where it is absent or not one.

    service_tier: what stands beside it; Anthropic's stands within.

    Anthropic counts cache reads and writes beside `input_tokens`, OpenAI within `prompt_tokens`; here they are within.
    """
    if not isinstance(members, dict):
        return None
    taken, given = counted(members, "prompt_tokens", "input_tokens"), counted(members, *_ANSWER)
    if taken is None and given is None:
        return None
    details = _mapping(members.get("prompt_tokens_details") or members.get("input_tokens_details"))
    answer = _mapping(members.get("completion_tokens_details") or members.get("output_tokens_details"))
    read, written = counted(members, "cache_read_input_tokens") or 0, counted(members, "cache_creation_input_tokens") or 0
    beside = 0 if counted(members, "prompt_tokens") is not None else read + written
    cached = counted(details, "cached_tokens") or 0
    tier = members.get("service_tier", service_tier)
    return Usage(
        input_tokens=(taken or 0) + beside,
        output_tokens=given or 0,
        cached_tokens=cached + read if beside else max(cached, read),
        reasoning_tokens=counted(answer, "reasoning_tokens") or 0,
        cache_write_tokens=written,
        cache_write_1h_tokens=counted(_mapping(members.get("cache_creation")), "ephemeral_1h_input_tokens") or 0,
        service_tier=tier[:MAX_TIER] if isinstance(tier, str) else "",
    )


_BESIDE = ("compaction", "advisor_message")


def beside_in(document: Any) -> Usage | None:
    """What Anthropic charges and leaves out of the sums of `usage`, in a whole answer or an event; None for nothing.

    `usage.iterations` has each step of a call. In no sum are those that summarise the conversation and those of an adviser.
    """
    steps = _mapping(_mapping(document).get("usage")).get("iterations")
    apart = [step for step in steps if _mapping(step).get("type") in _BESIDE] if isinstance(steps, list) else []
    found = [usage for step in apart if (usage := usage_of(step)) is not None]
    return reduce(_sum, found) if found else None


def answer_tokens(usage: Any) -> int | None:
    """Of a provider's `usage` member; None where it has no such count. Without one, no usage counts as reported but embeddings'."""
    return counted(_mapping(usage), *_ANSWER)


def usage_in(document: Any) -> Usage | None:
    """The usage in a whole answer, or in one event's document, where each dialect puts it."""
    members = _mapping(document)
    nested = _mapping(members.get("response")) or _mapping(members.get("message"))
    holder = members if members.get("usage") else nested
    return usage_of(holder.get("usage"), holder.get("service_tier"))


def tells_answer(document: Any) -> bool:
    """Whether its usage is of the answer, too: what Anthropic's first event has in `message` is of one that has only begun."""
    members = _mapping(document)
    return answer_tokens(members.get("usage") or _mapping(members.get("response")).get("usage")) is not None


_TEXT_MEMBERS = ("content", "refusal", "reasoning_content", "reasoning", "text", "thinking", "partial_json")


def text_of(document: Any) -> str:
    """The words that one event adds to the answer, over all choices and channels: what the model generated, for counting."""
    members = _mapping(document)
    parts = [_delta_text(members.get("delta"))]
    for choice in members.get("choices") or () if isinstance(members.get("choices"), list) else ():
        parts += [_delta_text(_mapping(choice).get("delta")), _string(_mapping(choice).get("text"))]
    return "".join(parts)


def _delta_text(delta: Any) -> str:
    if not isinstance(delta, dict):
        return _string(delta)
    words = [word for name in _TEXT_MEMBERS if isinstance(word := delta.get(name), str)]
    for call in delta.get("tool_calls") or () if isinstance(delta.get("tool_calls"), list) else ():
        function = _mapping(_mapping(call).get("function"))
        words += [_string(function.get("name")), _string(function.get("arguments"))]
    return "".join(words)


def _string(value: Any) -> str:
    return value if isinstance(value, str) else ""


FREE = Usage(0, 0)
"""Of a call that a provider takes nothing for."""


class UsageMeter:
    """Follows an answer that passes through Python: the usage it reports, and the words it has streamed."""

    MAX_TEXT = 16 * 1024 * 1024
    """Characters kept for counting a stream that ends without usage; words beyond them are not counted."""

    def __init__(self) -> None:
        self._told: Usage | None = None
        self._beside: Usage | None = None
        self._is_sum = False
        self._words: list[str] = []
        self._size = 0

    @property
    def usage(self) -> Usage | None:
        """Of the whole call; None until the answer's part was told, too."""
        if self._told is None or not self._is_sum:
            return None
        return self._told if self._beside is None else _sum(self._told, self._beside)

    @property
    def input_tokens(self) -> int:
        """Of the prompt, which some tell before the answer; 0 until then."""
        return self._told.input_tokens if self._told else 0

    @property
    def text(self) -> str:
        return "".join(self._words)

    def whole(self, document: Any, *, has_answer: bool = True) -> None:
        """has_answer: what was asked for has tokens of its own; embeddings have not."""
        self._told = usage_in(document)
        self._beside = beside_in(document)
        self._is_sum = not has_answer or tells_answer(document)

    def event(self, event: SseEvent) -> None:
        document = event.json
        if not isinstance(document, dict):
            return
        if (found := usage_in(document)) is not None:
            self._told = found if self._told is None else _later(self._told, found)
            self._beside = beside_in(document) or self._beside
            self._is_sum = self._is_sum or tells_answer(document)
        words = text_of(document)
        self._size += len(words)
        if words and self._size <= self.MAX_TEXT:
            self._words.append(words)


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cached_tokens + other.cached_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
        one.cache_write_tokens + other.cache_write_tokens,
        one.cache_write_1h_tokens + other.cache_write_1h_tokens,
        one.service_tier,
    )


def _later(old: Usage, new: Usage) -> Usage:
    """Anthropic reports the prompt at the start and the answer at the end; counts only ever grow."""
    return Usage(
        max(old.input_tokens, new.input_tokens),
        max(old.output_tokens, new.output_tokens),
        max(old.cached_tokens, new.cached_tokens),
        max(old.reasoning_tokens, new.reasoning_tokens),
        max(old.cache_write_tokens, new.cache_write_tokens),
        max(old.cache_write_1h_tokens, new.cache_write_1h_tokens),
        new.service_tier or old.service_tier,
    )
