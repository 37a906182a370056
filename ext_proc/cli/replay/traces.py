"""Traces: one request a line, with what was answered, as JSON."""

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from headrace.ext_proc.cli.test.format import AnswerPart, RequestPart
from headrace.ext_proc.core.principal import LEVELS, Principal, is_part
from headrace.ext_proc.engine.policy.part import Part
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem, Where, spelled
from headrace.ext_proc.engine.policy.validation import validated


class Line(Part):
    """at: when it came. caller: who asked, in place of the identity filter. usage: what the model server reported, where its
    answer was not kept.
    """

    at: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z$")] | None = None
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


def read_trace(path: Path) -> Iterator[Line]:
    """Line by line. Raises PolicyErrors at the first line that is none, OSError where there is no such file."""
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            if data.strip():
                yield _line(data, str(path), number)


def _line(data: bytes, file: str, number: int) -> Line:
    problems: list[Problem] = []

    def problem(where: Where, message: str) -> None:
        problems.append(Problem(file, number, spelled(where), message))

    try:
        value = json.loads(data)
    except ValueError as error:
        raise PolicyErrors([Problem(file, number, "", f"is not JSON: {error}")]) from None
    line = validated(Line, value, problem)
    wrong = [name for name, value in ((line and line.caller) or {}).items() if name not in LEVELS or not is_part(value)]
    if wrong:
        problem(("as", wrong[0]), f"is none of {', '.join(LEVELS)}, or its value cannot be one")
    if line is None or problems:
        raise PolicyErrors(problems)
    return line
