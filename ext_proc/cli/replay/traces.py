"""Traces: one request a line, with what was answered, as JSON."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from headrace.ext_proc.cli.test.format import AnswerPart, Instant, RequestPart
from headrace.ext_proc.core.principal import LEVELS, Principal, is_part
from headrace.ext_proc.engine.json_text import read_json
from headrace.ext_proc.engine.policy.part import Part
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem, Where, spelled
from headrace.ext_proc.engine.policy.validation import validated


class Line(Part):
    """at: when it came. caller: who asked, in place of the identity filter. usage: what the model server reported, where its
    answer was not kept.
    """

    at: Instant | None = None
    caller: dict[str, str] | None = Field(None, alias="as")
    request: RequestPart
    answer: AnswerPart | None = None
    usage: dict[str, Any] | None = None

    @property
    def principal(self) -> Principal | None:
        return Principal(**self.caller) if self.caller else None

    def at_ms(self, before: int) -> int:
        """Epoch milliseconds; `before` where the line does not say, and never earlier."""
        if self.at is None:
            return before
        return max(before, int(datetime.fromisoformat(self.at).timestamp() * 1000))

    @property
    def answered(self) -> AnswerPart | None:
        """The answer, or one that reports the usage and says nothing."""
        if self.answer is None and self.usage is not None:
            return AnswerPart.model_validate({"body": {"choices": [], "usage": self.usage}})
        return self.answer


Named = tuple[int | str, Line]
"""A line and what it is found by: its number, from 1, or the id of its exchange."""


def read_trace(path: Path) -> Iterator[Named]:
    """Line by line. Raises PolicyErrors at the first line that is none, and where there is none; OSError where there is no file."""
    number, empty = 0, True
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            if data.strip():
                empty = False
                yield number, _line(data, str(path), number)
    if empty:
        raise PolicyErrors([Problem(str(path), number, "", _EMPTY)])


_EMPTY = 'has no request; a line is like {"as": {"team": "blue"}, "request": {"body": {"model": "gpt-4o", "messages": []}}}'


def _line(data: bytes, file: str, number: int) -> Line:
    problems: list[Problem] = []

    def problem(where: Where, message: str) -> None:
        problems.append(Problem(file, number, spelled(where), message))

    try:
        value = read_json(data)
    except ValueError as error:
        raise PolicyErrors([Problem(file, number, "", str(error))]) from None
    line = validated(Line, value, problem)
    wrong = [name for name, value in ((line and line.caller) or {}).items() if name not in LEVELS or not is_part(value)]
    if wrong:
        problem(("as", wrong[0]), f"is none of {', '.join(LEVELS)}, or its value cannot be one")
    if line is None or problems:
        raise PolicyErrors(problems)
    return line
