"""The format of `*.test.yaml`: cases for a policy, each a request, what the model answers, and what is expected."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from headrace.ext_proc.core.principal import LEVELS, Principal, is_part
from headrace.ext_proc.engine.policy.lines import Located, read
from headrace.ext_proc.engine.policy.part import Part
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem, Where, spelled
from headrace.ext_proc.engine.policy.validation import validated
from headrace.ext_proc.engine.trial import Answered, Asked

SUFFIX = ".test.yaml"
Name = Annotated[str, Field(min_length=1, max_length=200)]
Words = Annotated[str, Field(min_length=1)]
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z")


def _checked(text: str) -> str:
    try:
        if _INSTANT.fullmatch(text) and datetime.fromisoformat(text):
            return text
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no time such as 2026-06-01T12:00:00Z")


Instant = Annotated[str, AfterValidator(_checked)]
"""A time in UTC, as RFC 3339 writes it."""


class Message(Part):
    """What travels, either way: at most one of body and raw."""

    headers: dict[str, str] = Field(default_factory=dict)
    body: Any = Field(None, description="Sent as JSON.")
    raw: str | None = Field(None, description="Sent as it is written.")

    @model_validator(mode="after")
    def _one_body(self) -> Self:
        if self.raw is not None and self.body is not None:
            raise ValueError("has both body and raw; a message has one")
        return self

    @property
    def data(self) -> bytes:
        if self.raw is not None:
            return self.raw.encode()
        return b"" if self.body is None else json.dumps(self.body, ensure_ascii=False).encode()

    @property
    def fields(self) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}


class RequestPart(Message):
    method: str = "POST"
    path: str = "/v1/chat/completions"

    @property
    def asked(self) -> Asked:
        return Asked(self.data, self.method, self.path, tuple(self.fields.items()))


class AnswerPart(Message):
    """events: a stream; documents, or strings for data that is no JSON."""

    status: Annotated[int, Field(ge=100, le=599)] = 200
    events: tuple[Any, ...] | None = None

    @property
    def answered(self) -> Answered:
        if self.events is None:
            return Answered(self.data, self.status, self.fields)
        return Answered(b"".join(map(_event, self.events)), self.status, self.fields, stream=True)


def _event(given: Any) -> bytes:
    """A document with a `type` goes under that name, as Anthropic and the Responses API have it."""
    if isinstance(given, str):
        return f"data: {given}\n\n".encode()
    name = f"event: {given['type']}\n" if isinstance(given, dict) and "type" in given else ""
    return f"{name}data: {json.dumps(given, ensure_ascii=False)}\n\n".encode()


class RefusedPart(Part):
    status: int | None = None
    code: str | None = None
    message: str | None = Field(None, description="Words of the error's message.")


class SentPart(Part):
    headers: dict[str, str | None] = Field(default_factory=dict)
    body: Any = Field(None, description="unchanged, or members that the body has.")


class GotPart(Part):
    status: int | None = None
    headers: dict[str, str | None] = Field(default_factory=dict)
    body: Any = Field(None, description="unchanged, or members that the answer has.")
    text: str | None = Field(None, description="The words that a stream's events add up to.")


class StepPart(Part):
    """What one filter decided."""

    outcome: Literal["continue", "reply", "would_reply", "failed"] | None = None
    reason: str | None = None
    note: dict[str, Any] = Field(default_factory=dict)


class SpanPart(Part):
    """Personal data of one kind. path: where, such as messages[0].content."""

    type: Name
    path: Name | None = None
    count: Annotated[int, Field(ge=0)] | None = None


class ChargedPart(Part):
    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: str | None = None


class Expect(Part):
    """What is looked at; what is not named may be anything."""

    refused: RefusedPart | Literal[False] | None = None
    route: str | None = None
    sent: SentPart | None = None
    never_sent: tuple[Words, ...] = ()
    got: GotPart | None = None
    never_got: tuple[Words, ...] = ()
    filters: dict[str, StepPart] = Field(default_factory=dict)
    spans: tuple[SpanPart, ...] | None = Field(None, description="All that the pii filter found in the request.")
    charged: ChargedPart | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("expects nothing; a case that looks at nothing cannot fail")
        return self


class CasePart(Part):
    name: Name
    caller: dict[str, str] | None = Field(None, alias="as", description="Who asks, in place of the identity filter.")
    request: RequestPart
    answer: AnswerPart | None = None
    repeat: Annotated[int, Field(ge=1, le=10_000)] = Field(
        1, description="Times it is asked, on the same counters; the last is looked at."
    )
    expect: Expect

    @model_validator(mode="after")
    def _has_what_it_looks_at(self) -> Self:
        if wrong := [name for name, value in (self.caller or {}).items() if name not in LEVELS or not is_part(value)]:
            raise ValueError(f"as: {wrong[0]!r} is none of {', '.join(LEVELS)}, or its value cannot be one")
        looked_at = [name for name in ("got", "never_got", "charged") if name in self.expect.model_fields_set]
        if looked_at and self.answer is None and self.expect.refused is None:
            raise ValueError(f"expect.{looked_at[0]} needs an answer: what the model server would say")
        return self

    @property
    def principal(self) -> Principal | None:
        return Principal(**self.caller) if self.caller else None


class CasesDocument(Part):
    """policy: the file tested, relative to this one; without it, the file of the same name: eu.test.yaml tests eu.yaml."""

    policy: str | None = None
    at: Instant = "2026-06-01T12:00:00Z"
    cases: Annotated[tuple[CasePart, ...], Field(min_length=1)]


@dataclass(frozen=True)
class CaseFile:
    """policy: the file that is tested."""

    path: Path
    policy: Path
    document: CasesDocument
    located: Located

    def problem(self, case: int, where: Where, message: str) -> Problem:
        """Of what case number `case`, from 0, expects at `where`."""
        line = self.located.line_of(("cases", case, "expect", *where))
        return Problem(str(self.path), line, spelled(("expect", *where)), message)


def read_tests(path: Path) -> CaseFile:
    """Raises PolicyErrors with everything that is wrong with the file."""
    located = read(path)
    if "cases" not in located.value and not path.name.endswith(SUFFIX):
        raise PolicyErrors([Problem(str(path), 1, "", f"has no cases; those of a policy stand beside it, in {path.stem}{SUFFIX}")])
    problems: list[Problem] = []

    def problem(where: Where, message: str) -> None:
        problems.append(Problem(str(path), located.line_of(where), spelled(where), message))

    document = validated(CasesDocument, located.value, problem)
    if document is None or problems:
        raise PolicyErrors(problems)
    named = document.policy or f"{path.name.removesuffix(SUFFIX)}.yaml"
    return CaseFile(path, path.parent / named, document, located)


def found_in(paths: Sequence[Path]) -> Sequence[Path]:
    """The test files named, and those in the folders named, at any depth."""
    return [file for path in paths for file in (sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path])]
