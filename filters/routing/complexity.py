"""How hard a request looks, and whether it is about code: two scores of 0 to 100 from cheap features of its words.

The scores are sums of bounded parts; docs/filters/routing.md has the table. They look at the user's last turn, SEEN characters of
it, and at the shape of the request; no model is asked. They are a guess: they prefer a model, and never rule one out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from headrace.ext_proc.engine.policy.pools import Kind
from headrace.filters.routing.settings import Complexity

SEEN: Final = 8000
"""Characters of the last turn that are looked at: half from its beginning, half from its end, where instructions stand."""

_HARD: Final = (
    r"prove|derive|deduce|demonstrate|analy[sz]e|evaluate|compare|contrast|critique|assess|estimate|optimi[sz]e|design|architect"
    r"|architecture|plan|strategy|trade-?offs?|reason|reasoning|why|consequences?|implications?|diagnose|debug|refactor|complexity"
    r"|theorem|proof|hypothesis|simulate|negotiate|legal|contract|comprehensive|detailed|thoroughly|step[ -]by[ -]step"
)
"""Words of requests that small models do badly at."""

_MATHS: Final = re.compile(r"[∑∏∫√∂∇≤≥≠∀∃∈]|\\(?:frac|sum|int|sqrt|lim|begin)\b|\$\$|[0-9a-z)] ?[\^=] ?[0-9a-z(]")
_PARTS: Final = re.compile(r"\?(?=\s|$)|^ {0,3}(?:[-*•]|\d{1,2}[.)]) ", re.MULTILINE)

_CODE_LINE: Final = re.compile(
    r"^[ \t]{0,40}(?:def |class |import |from \w+ import|return\b|function\b|const |let |var |public |private |static |fn |func "
    r"|#include|package |SELECT |INSERT |UPDATE |CREATE |if ?\(|for ?\(|while ?\(|async |await |@\w|//|/\*|Traceback "
    r"|[^\n]{0,200}[;{}]$)",
    re.MULTILINE,
)
_CODE_WORDS: Final = re.compile(
    r"(?<!\w)(?:python|javascript|typescript|java|c\+\+|rust|golang|kotlin|sql|regex|bash|shell script|dockerfile|kubernetes"
    r"|terraform|html|css|react|api|endpoint|function|method|class|compiler?|stack ?trace|exception|unit tests?|pytest|refactor"
    r"|debug|bug|pull request|git|repository|codebase|script|algorithm|implement|code)(?!\w)",
    re.IGNORECASE,
)


class Scored(NamedTuple):
    """score: how hard; code: how much about code; each 0 to 100. kind: what follows."""

    kind: Kind
    score: int
    code: int

    @property
    def note(self) -> Mapping[str, Any]:
        return self._asdict()


class Scorer:
    """With one policy's thresholds and words."""

    def __init__(self, settings: Complexity) -> None:
        words = "|".join([_HARD, *(re.escape(word.lower()) for word in settings.words)])
        self._hard = re.compile(rf"(?<!\w)(?:{words})(?!\w)")
        self._settings = settings

    def of(self, document: Mapping[str, Any]) -> Scored:
        """document: the request's body."""
        turns = _turns(document)
        text = _seen(_words(turns[-1])) if turns else ""
        score, code = self._score(text, document, len(turns)), _code(text)
        if code >= self._settings.code_from:
            return Scored("code", score, code)
        return Scored("large" if score >= self._settings.large_from else "small", score, code)

    def _score(self, text: str, document: Mapping[str, Any], turns: int) -> int:
        lower = text.lower()
        points = (
            min(30, len(text) // 100),
            min(36, 12 * len(set(self._hard.findall(lower)))),
            min(15, 5 * max(0, len(_PARTS.findall(text)) - 1)),
            10 if _MATHS.search(lower) else 0,
            min(10, 2 * max(0, turns - 1)),
            10 if document.get("tools") else 0,
            5 if document.get("response_format") else 0,
        )
        return min(100, sum(points))


def _code(text: str) -> int:
    fenced = 40 if "```" in text else 0
    lines = min(40, 10 * len(_CODE_LINE.findall(text)))
    words = min(40, 20 * len({found.lower() for found in _CODE_WORDS.findall(text)}))
    return min(100, fenced + lines + words)


def _turns(document: Mapping[str, Any]) -> Sequence[Any]:
    """What the user said, in any of the APIs; a bare text is one turn."""
    for name in ("messages", "input", "prompt"):
        turns = document.get(name)
        if isinstance(turns, str):
            return [turns]
        if isinstance(turns, list):
            return [one.get("content") for one in turns if isinstance(one, dict) and one.get("role") == "user"] or turns[-1:]
    return []


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


def _seen(text: str) -> str:
    return text if len(text) <= SEEN else f"{text[: SEEN // 2]}\n{text[-SEEN // 2 :]}"
