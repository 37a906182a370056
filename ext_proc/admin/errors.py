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
    "not_yours",
    "method_not_allowed",
    "conflict",
    "store.unavailable",
    "internal",
]
STATUS: Mapping[Code, HTTPStatus] = {
    "api.off": HTTPStatus.FORBIDDEN,
    "auth.missing": HTTPStatus.UNAUTHORIZED,
    "auth.invalid": HTTPStatus.UNAUTHORIZED,
    "auth.expired": HTTPStatus.UNAUTHORIZED,
    "auth.forbidden": HTTPStatus.FORBIDDEN,
    "request.invalid": HTTPStatus.BAD_REQUEST,
    "request.too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "request.media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "not_found": HTTPStatus.NOT_FOUND,
    "not_yours": HTTPStatus.FORBIDDEN,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "conflict": HTTPStatus.CONFLICT,
    "store.unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "internal": HTTPStatus.INTERNAL_SERVER_ERROR,
}


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
    """A refusal. headers: of the answer."""

    def __init__(
        self, code: Code, message: str, *, problems: Sequence[Problem] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.headers = STATUS[code], headers or {}
        self.fault = Fault(code=code, message=message, problems=list(problems))


def invalid(problems: Sequence[Problem], headers: Mapping[str, str] | None = None) -> ApiError:
    """problems: one or more."""
    message = f"{problems[0].where}: {problems[0].message}"
    return ApiError("request.invalid", message, problems=problems, headers=headers)
