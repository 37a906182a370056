"""What an operation of the API is: one row of a table, from which its route and its page in the OpenAPI document are made."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

from headrace.ext_proc.admin.errors import Code
from headrace.ext_proc.admin.tokens import Role, TokenRecord
from headrace.ext_proc.core.ports import Store

Method = Literal["GET", "POST", "PUT"]


class Given(BaseModel):
    """What a caller gives: unknown members are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Given):
    """No parameters."""


Query = TypeVar("Query", bound=Given)
Body = TypeVar("Body", bound=BaseModel | None)


MOST_PATH = 200
"""Characters of a path in a record."""


def utc_now() -> datetime:
    return datetime.now(UTC)


async def nowhere(deed: Mapping[str, str]) -> None:
    """For a site without an audit log."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the operations work on. policy: the file that the service was started with. deeds: keeps what was changed, by whom."""

    store: Store
    policy: Path
    now: Callable[[], datetime] = utc_now
    deeds: Callable[[Mapping[str, str]], Awaitable[None]] = nowhere

    async def changed(self, token: TokenRecord, operation: str, path: str) -> None:
        """Something was changed, which the audit log shall know. Raises nothing."""
        await self.deeds({"operation": operation, "holder": token.holder, "token": token.id, "path": path[:MOST_PATH]})


@dataclass(frozen=True, slots=True)
class Call(Generic[Query, Body]):
    """One request, admitted and read. path: the parameters in it."""

    site: Site
    token: TokenRecord
    path: Mapping[str, str]
    query: Query
    body: Body
    now: datetime


class Handler(Protocol[Query, Body]):
    """Raises ApiError and StoreUnavailable."""

    def __call__(self, call: Call[Query, Body], /) -> Awaitable[BaseModel]: ...


@dataclass(frozen=True, slots=True)
class Operation(Generic[Query, Body]):
    """path: under /api/v1. role: who may. raises: codes besides those that every operation has."""

    name: str
    method: Method
    path: str
    role: Role
    summary: str
    handler: Handler[Query, Body]
    answer: type[BaseModel]
    query: type[Query]
    body: type[Any] | None = None
    status: HTTPStatus = HTTPStatus.OK
    raises: tuple[Code, ...] = ()
