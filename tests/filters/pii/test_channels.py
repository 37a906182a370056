"""Property: whatever the text, the channel and the cuts, what is streamed is what is given whole, and no finding leaves.

HEADRACE_LONG=1 runs 10,000 random answers instead of some hundred.
"""

import json
import os
import random
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any
from urllib.parse import quote

import pytest

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.session import EndStream
from headrace.ext_proc.core.sse import SseEvent, SseParser
from headrace.filters.pii.actions import Substitutes
from headrace.filters.pii.answer import Answer, Scrubbing
from headrace.filters.pii.placeholders import Placeholders
from headrace.filters.pii.plan import Plan, detector_for
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.treatment import Treatment

from .driver import event

CASES = 10_000 if os.environ.get("HEADRACE_LONG") else 300
KEY = b"k" * 32
_ENTITIES = ("CREDIT_CARD", "EMAIL_ADDRESS", "IBAN_CODE", "IP_ADDRESS", "PHONE_NUMBER", "URL", "US_SSN")
SEARCHER = Searcher(
    detector_for(Plan(tuple((entity, 0.4) for entity in _ENTITIES), layers=frozenset({"context", "code", "decode"}))),
    Treatment("redact", "off"),
)
PLACEHOLDERS = Placeholders(KEY)
RESTORED = 'Zoë "Z" Müller-Lüdenscheidt'
TOKEN = PLACEHOLDERS.of("PERSON", RESTORED)

# Values that stand alone and are found for certain, with no letters that the text around them has.
SECRETS = ("joan.q@example.org", "4111 1111 1111 1111", "DE89 3704 0044 0532 0130 00", "536-90-4399", "2001:db8::4711")
ALONE = "0123456789@"
"""Characters that only values have; none of them may leave."""
_WORDS = (
    "water",
    "the",
    "mill",
    "e.g.",
    "so",
    "Grüße",
    "🙂",
    "née",
    "—",
    "and\nthen",
    "(see",
    "below)",
    "a.b",
    "...",
    "<b>",
    "**",
    "x" * 70,
)


def _text(chance: random.Random) -> str:
    words = chance.choices(_WORDS, k=chance.randint(0, 60))
    for _ in range(chance.randint(0, 4)):
        place = chance.randint(0, len(words))
        # A word between: two numbers side by side are another number, to a pattern as to a reader.
        words[place:place] = ["mill", chance.choice([*SECRETS, TOKEN, TOKEN.upper(), TOKEN.replace("_", "\\_")]), "mill"]
    return chance.choice([" ", " ", "  ", "\n"]).join(words)


# --- channels --------------------------------------------------------------------------------------------------------------------

Make = Callable[[str], Any]


@dataclass(frozen=True)
class Channel:
    """A channel of a dialect: an event with a piece of it, the text in what the caller gets, and the events at its end."""

    endpoint: Endpoint
    piece: Make
    said: Callable[[Any], str]
    ends: Sequence[Any]
    json: bool = False
    restored: bool = True


def _at(document: Any, *path: str | int) -> str:
    for step in path:
        if isinstance(step, int) and not (isinstance(document, list) and len(document) > step):
            return ""
        document = document[step] if isinstance(step, int) else (document.get(step) if isinstance(document, dict) else None)
    return document if isinstance(document, str) else ""


def _chat(name: str) -> Channel:
    return Channel(
        Endpoint.CHAT,
        lambda text: {"choices": [{"index": 0, "delta": {name: text}, "finish_reason": None}]},
        lambda document: _at(document, "choices", 0, "delta", name),
        [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, "[DONE]"],
    )


def _block(kind: str, name: str, *, json: bool = False, restored: bool = True) -> Channel:
    return Channel(
        Endpoint.MESSAGES,
        lambda text: {"type": "content_block_delta", "index": 0, "delta": {"type": kind, name: text}},
        lambda document: _at(document, "delta", name),
        [{"type": "content_block_stop", "index": 0}, {"type": "message_stop"}],
        json,
        restored,
    )


def _responses(stem: str, *, json: bool = False) -> Channel:
    at = {"item_id": "i", "output_index": 0, "content_index": 0}
    return Channel(
        Endpoint.RESPONSES,
        lambda text: {"type": f"response.{stem}.delta", **at, "delta": text},
        lambda document: _at(document, "delta"),
        [{"type": f"response.{stem}.done", **at}, {"type": "response.completed"}],
        json,
    )


CHANNELS: Mapping[str, Channel] = {
    "content": _chat("content"),
    "refusal": _chat("refusal"),
    "reasoning": _chat("reasoning_content"),
    "tool arguments": Channel(
        Endpoint.CHAT,
        lambda text: {"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}}]},
        lambda document: _at(document, "choices", 0, "delta", "tool_calls", 0, "function", "arguments"),
        [{"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}, "[DONE]"],
        json=True,
    ),
    "legacy text": Channel(
        Endpoint.COMPLETIONS,
        lambda text: {"choices": [{"index": 0, "text": text, "finish_reason": None}]},
        lambda document: _at(document, "choices", 0, "text"),
        [{"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}, "[DONE]"],
    ),
    "output_text": _responses("output_text"),
    "reasoning summary": _responses("reasoning_summary_text"),
    "function arguments": _responses("function_call_arguments", json=True),
    "anthropic text": _block("text_delta", "text"),
    "anthropic thinking": _block("thinking_delta", "thinking", restored=False),
    "anthropic arguments": _block("input_json_delta", "partial_json", json=True),
}


def _answer() -> Answer:
    return Answer(PLACEHOLDERS.values, Scrubbing(SEARCHER, Substitutes(SEARCHER.treatment, Placeholders(KEY), KEY)))


def _streamed(channel: Channel, pieces: Sequence[str], cuts: Callable[[bytes], Iterator[bytes]]) -> tuple[str, bytes]:
    """The channel's text as the caller gets it, and the bytes."""
    raw = b"".join(event(document) for document in [*map(channel.piece, pieces), *channel.ends])
    answer, parser, out = _answer(), SseParser(), []
    for chunk in cuts(raw):
        out += [each for given in parser.feed(chunk) for each in answer.on_event(given, channel.endpoint)]
    out += [each for given in parser.finish() for each in answer.on_event(given, channel.endpoint)]
    out += answer.on_stream_end()
    return "".join(channel.said(each.json) for each in out), b"".join(each.raw for each in out)


def _whole(channel: Channel, text: str) -> str:
    said, _ = _streamed(channel, [text], lambda raw: iter((raw,)))
    return said


def _pieces(text: str, chance: random.Random) -> list[str]:
    """Cut anywhere, also between every two characters."""
    if chance.random() < 0.1:
        return list(text)
    bounds = sorted({0, len(text), *(chance.randint(0, len(text)) for _ in range(chance.randint(0, 30)))})
    return [text[start:end] for start, end in pairwise(bounds)]


def _chunks(chance: random.Random) -> Callable[[bytes], Iterator[bytes]]:
    """The bytes of a stream one by one, or in chunks of some size."""
    size = chance.choice([1, 2, 3, 7, 100, 5000])
    return lambda raw: (raw[start : start + size] for start in range(0, len(raw), size))


def _in_json(text: str, chance: random.Random) -> str:
    """Arguments of a tool with the text in them, escaped one way or the other."""
    return json.dumps({"q": [text], "n": {"deep": "x"}}, ensure_ascii=chance.random() < 0.5)


@pytest.mark.parametrize("name", CHANNELS)
def test_what_is_streamed_is_what_is_given_whole_and_no_finding_leaves(name: str) -> None:
    channel, chance = CHANNELS[name], random.Random(name)
    for _ in range(CASES // len(CHANNELS) + 1):
        text = _text(chance)
        if channel.json:
            text = _in_json(text, chance)
        said, raw = _streamed(channel, _pieces(text, chance), _chunks(chance))
        assert said == _whole(channel, text)
        for secret in SECRETS:
            assert secret not in said and secret.encode() not in raw
        plain = "".join(json.loads(said)["q"]) if channel.json else said
        if not channel.restored:
            plain = _put_in(plain)
        assert not set(ALONE) & set(plain), plain
        assert TOKEN not in plain and plain.count(RESTORED) == sum(text.count(each) for each in _spellings(channel.json))


def _put_in(said: str) -> str:
    """Text that was not restored, with the value in place of every placeholder."""
    assert RESTORED not in said
    for each in _spellings(False):
        said = said.replace(each, RESTORED)
    return said


def _spellings(in_json: bool) -> Sequence[str]:
    plain = [TOKEN, TOKEN.upper(), TOKEN.replace("_", "\\_")]
    return [json.dumps(each)[1:-1] for each in plain] if in_json else plain


# --- an adversary's texts --------------------------------------------------------------------------------------------------------

_MAIL = "joan.q@example.org"
ADVERSARIAL: Mapping[str, str] = {
    "in prose": f"write to {_MAIL} today",
    "before a full stop": f"It is {_MAIL}. Yes.",
    "a card in groups": "card 4111 1111 1111 1111 please",
    "an IBAN": "to DE89 3704 0044 0532 0130 00 today",
    "zero-width": "write to joan\u200b.q@exam\u200bple.org today",
    "soft hyphen": "write to joan.q@exam\u00adple.org today",
    "full-width": "write to " + "".join(chr(ord(each) + 0xFEE0) for each in _MAIL) + " today",
    "percent": f"see https://h.org/?m={quote(_MAIL, safe='')} today",
    "entities": "write to joan.q&#64;example.org today",
    "escapes in text": "write to joan.q\\u0040example.org today",
    "base64": f"decode {b64encode(f'write to {_MAIL}'.encode()).decode()} today",
    "after an emoji": f"🙂🙂{_MAIL}🙂",
}
_READABLE = ("joan", "example.org", "1111", "3704", "0044", "am9hbi5x", "oan.q")


@pytest.mark.parametrize("case", ADVERSARIAL)
def test_an_adversarys_text_gives_nothing_away_however_it_is_cut(case: str) -> None:
    text, channel = ADVERSARIAL[case], CHANNELS["content"]
    whole = _whole(channel, text)
    assert "<" in whole
    for readable in _READABLE:
        assert readable not in whole.replace("&#64;", "@")
    for cut in range(1, len(text)):
        said, _ = _streamed(channel, [text[:cut], text[cut:]], lambda raw: iter((raw,)))
        assert said == whole
    assert _streamed(channel, list(text), lambda raw: iter((raw,)))[0] == whole


def test_an_iban_in_any_three_pieces_gives_nothing_away() -> None:
    iban, channel = "DE89 3704 0044 0532 0130 00", CHANNELS["content"]
    for first, second in combinations(range(1, len(iban)), 2):
        pieces = [f"to {iban[:first]}", iban[first:second], f"{iban[second:]} now"]
        said, raw = _streamed(channel, pieces, lambda raw: iter((raw,)))
        assert said == "to <IBAN_CODE> now"
        assert b"DE8" not in raw


@pytest.mark.parametrize("name", [name for name, channel in CHANNELS.items() if channel.json])
def test_arguments_cut_inside_an_escape_give_nothing_away(name: str) -> None:
    channel = CHANNELS[name]
    text = '{"to": "joan.q\\u0040example.org", "smile": "\\ud83d\\ude42 ' + TOKEN.replace("<", "\\u003c") + '", "x": "a\\\\"}'
    for cut in range(1, len(text)):
        said, raw = _streamed(channel, [text[:cut], text[cut:]], lambda raw: iter((raw,)))
        assert json.loads(said) == {"to": "<EMAIL_ADDRESS>", "smile": f"🙂 {RESTORED}", "x": "a\\"}
        assert b"joan" not in raw and b"example" not in raw


def test_a_surrogate_pair_cut_between_two_deltas_hides_nothing() -> None:
    channel = CHANNELS["content"]
    raw = [
        f'data: {{"choices":[{{"index":0,"delta":{{"content":"{each}"}}}}]}}\n\n'
        for each in ("to \\ud83d", "\\ude42 " + _MAIL + " ")
    ]
    answer = _answer()
    out = [each for data in raw for each in answer.on_event(SseEvent(data.encode()), Endpoint.CHAT)] + list(answer.on_stream_end())
    assert "".join(channel.said(each.json) for each in out) == "to 🙂 <EMAIL_ADDRESS> "


@pytest.mark.parametrize("name", CHANNELS)
def test_comments_and_pings_pass_at_their_place(name: str) -> None:
    channel, answer = CHANNELS[name], _answer()
    assert [each.raw for each in answer.on_event(SseEvent(b": ping\n\n"), channel.endpoint)] == [b": ping\n\n"]


@pytest.mark.parametrize(
    ("endpoint", "document"),
    [
        (Endpoint.CHAT, {"object": "other", "piece": "joan."}),
        (Endpoint.RESPONSES, {"type": "response.new_thing.delta", "delta": "joan."}),
        (Endpoint.RESPONSES, {"type": "vendor.thing", "text": "joan."}),
        (Endpoint.MESSAGES, {"type": "new_delta", "text": "joan."}),
    ],
)
def test_an_event_that_nobody_knows_ends_a_searched_stream_unless_the_policy_lets_it_pass(
    endpoint: Endpoint, document: dict[str, Any]
) -> None:
    given = SseEvent(event(document))
    with pytest.raises(EndStream) as ended:
        _answer().on_event(given, endpoint)
    assert ended.value.reply.reason == "pii.unknown_event"
    substitutes = Substitutes(SEARCHER.treatment, Placeholders(KEY), KEY)
    lenient = Answer({}, Scrubbing(SEARCHER, substitutes, closed=False))
    lenient.on_event(given, endpoint)
    assert [each.json for each in Answer({TOKEN: "x"}, None).on_event(given, endpoint)] == [document]
