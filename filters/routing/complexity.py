"""How hard a request looks, and whether it is about code: two scores of 0 to 100 from cheap features of its words.

The scores are sums of bounded parts; docs/filters/routing.md has the table. They look at the user's last turn, SEEN characters of
it, and at the shape of the request; no model is asked. They are a guess: they prefer a model, and never rule one out.
"""

import re
from collections.abc import Mapping, Sequence, Set
from typing import Any, Final, NamedTuple

from headrace.ext_proc.engine.policy.pools import Kind
from headrace.filters.routing.settings import Complexity

SEEN: Final = 4000
"""Characters of the last turn that are looked at: half from its beginning, half from its end, where instructions stand."""

LINES: Final = 200
"""Of them."""

HARD: Final = (
    "prove derive deduce demonstrate analyse analyze evaluate compare contrast critique assess estimate optimise optimize design "
    "architect architecture plan strategy tradeoff tradeoffs reason reasoning why consequences implications diagnose debug "
    "refactor complexity theorem proof hypothesis simulate negotiate legal contract comprehensive detailed thoroughly"
)
"""Words of requests that small models do badly at."""
HARD_PHRASES: Final = ("step by step", "step-by-step", "trade-off")

CODE: Final = (
    "python javascript typescript java rust golang kotlin sql regex bash dockerfile kubernetes terraform html css react api "
    "endpoint function method class compile compiler exception pytest refactor debug bug git repository codebase script "
    "algorithm implement code"
)
CODE_PHRASES: Final = ("c++", "c#", "stack trace", "unit test", "pull request", "shell script")
CODE_STARTS: Final = (
    *(
        "def ",
        "class ",
        "import ",
        "return ",
        "function ",
        "const ",
        "let ",
        "var ",
        "public ",
        "private ",
        "static ",
        "fn ",
        "func ",
    ),
    *("#include", "package ", "SELECT ", "INSERT ", "UPDATE ", "CREATE ", "if (", "for (", "while (", "async ", "await "),
    *("//", "/*", "Traceback ", "}", "@"),
)
CODE_ENDS: Final = (";", "{", "}", "):", "];", ");")

MATHS: Final = frozenset("∑∏∫√∂∇≤≥≠∀∃∈")
MATHS_WORDS: Final = ("\\frac", "\\sum", "\\int", "\\sqrt", "\\begin", "$$")

_WORD: Final = re.compile(r"\w+")
_EQUATION: Final = re.compile(r"[0-9a-z)] ?[\^=] ?[0-9a-z(]")
_ITEM: Final = re.compile(r" {0,3}(?:[-*•]|\d{1,2}[.)]) ")


class Vocabulary(NamedTuple):
    """words: each by itself; phrases: wherever they stand. All in lower case."""

    words: frozenset[str]
    phrases: Sequence[str]

    def found(self, words: Set[str], text: str) -> int:
        """How many of them are there. words: of `text`, which is in lower case."""
        return len(self.words & words) + sum(phrase in text for phrase in self.phrases)


_CODE: Final = Vocabulary(frozenset(CODE.split()), CODE_PHRASES)


class Look(NamedTuple):
    """A text, read once."""

    text: str
    lower: str
    lines: Sequence[str]
    words: Set[str]

    @classmethod
    def at(cls, text: str) -> "Look":
        seen = text if len(text) <= SEEN else f"{text[: SEEN // 2]}\n{text[-SEEN // 2 :]}"
        lower = seen.lower()
        return cls(seen, lower, seen.split("\n", LINES)[:LINES], set(_WORD.findall(lower)))


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
        own = [word.lower() for word in settings.words]
        single = {word for word in own if _WORD.fullmatch(word)}
        self._hard = Vocabulary(frozenset({*HARD.split(), *single}), (*HARD_PHRASES, *(word for word in own if word not in single)))
        self._settings = settings

    def of(self, document: Mapping[str, Any]) -> Scored:
        """document: the request's body."""
        turns = _turns(document)
        look = Look.at(_words(turns[-1]) if turns else "")
        score, code = self._score(look, document, len(turns)), _code(look)
        if code >= self._settings.code_from:
            return Scored("code", score, code)
        return Scored("large" if score >= self._settings.large_from else "small", score, code)

    def _score(self, look: Look, document: Mapping[str, Any], turns: int) -> int:
        parts = look.text.count("?") + sum(_ITEM.match(line) is not None for line in look.lines)
        points = (
            min(30, len(look.text) // 100),
            min(36, 12 * self._hard.found(look.words, look.lower)),
            min(15, 5 * max(0, parts - 1)),
            10 if _has_maths(look) else 0,
            min(10, 2 * max(0, turns - 1)),
            10 if document.get("tools") else 0,
            5 if document.get("response_format") else 0,
        )
        return min(100, sum(points))


def _has_maths(look: Look) -> bool:
    return not MATHS.isdisjoint(look.text) or any(word in look.text for word in MATHS_WORDS) or bool(_EQUATION.search(look.lower))


def _code(look: Look) -> int:
    fenced = 40 if "```" in look.text else 0
    lines = min(40, 10 * sum(map(_is_code, look.lines)))
    words = min(40, 20 * _CODE.found(look.words, look.lower))
    return min(100, fenced + lines + words)


def _is_code(line: str) -> bool:
    return line.lstrip().startswith(CODE_STARTS) or line.rstrip().endswith(CODE_ENDS)


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
