"""What the admin API refuses: each with a code that does not change, and a sentence."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Literal

from pydantic import BaseModel, Field

from headrace.ext_proc.core.errors import HeadraceError

Code = Literal[
    "api.off",
    "auth.missing",
    "auth.invalid",
    "auth.expired",
    "auth.forbidden",
    "request.invalid",
    "request.too_large",
    "request.media_type",
    "not_found",
    "method_not_allowed",
    "conflict",
    "store.unavailable",
    "internal",
]


class Problem(BaseModel):
    """One thing that is wrong with a request."""

    where: str = Field(description="The member or parameter, such as `body.expires` or `query.limit`.")
    message: str = Field(description="What is wrong with it.")


class Fault(BaseModel):
    """What was refused, and why."""

    code: Code = Field(description="For programs; it does not change.")
    message: str = Field(description="For people.")
    problems: list[Problem] = Field([], description="Where the request is wrong; of `request.invalid`.")


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    error: Fault


class ApiError(HeadraceError):
    """A refusal with its status. headers: of the answer."""

    def __init__(
        self,
        status: HTTPStatus,
        code: Code,
        message: str,
        *,
        problems: Sequence[Problem] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}
        self.fault = Fault(code=code, message=message, problems=list(problems))


def not_found(what: str) -> ApiError:
    return ApiError(HTTPStatus.NOT_FOUND, "not_found", what)


def conflict(why: str) -> ApiError:
    return ApiError(HTTPStatus.CONFLICT, "conflict", why)
