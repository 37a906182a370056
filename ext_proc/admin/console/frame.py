"""What every page has: its row in the table of pages, the visit it answers, and what it is rendered with."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from headrace.ext_proc.admin.console.attempts import Attempts
from headrace.ext_proc.admin.console.counts import Counts
from headrace.ext_proc.admin.console.forms import Words
from headrace.ext_proc.admin.console.log import DecisionSource
from headrace.ext_proc.admin.console.rendering import render
from headrace.ext_proc.admin.console.revisions import Revisions
from headrace.ext_proc.admin.console.sessions import Session, Sessions
from headrace.ext_proc.admin.console.workshop import Workshop
from headrace.ext_proc.admin.errors import Problem, invalid
from headrace.ext_proc.admin.operation import Call, Nothing, Site
from headrace.ext_proc.admin.tokens import Role, TokenRecord
from headrace.ext_proc.engine.load.board import Heard
from headrace.ext_proc.engine.policy.gateways import Gateway

PREFIX = "/console"
COOKIE = "headrace_session"
CALLER = "headrace_form"
"""The cookie that the form of the login page is bound to."""

Asked = TypeVar("Asked", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class WorkerState:
    """One worker as the supervisor knows it. revision: of the policy in force; empty while there is none."""

    number: int
    ready: bool
    restarts: int
    revision: str = ""
    loaded_ms: int = 0
    problems: tuple[str, ...] = ()


class Surroundings(Protocol):
    """What the console shows of the service that it is part of."""

    @property
    def site(self) -> Site: ...

    @property
    def gateway(self) -> Gateway:
        """Who calls the service."""
        ...

    @property
    def secure(self) -> bool:
        """Whether the console is served over TLS."""
        ...

    @property
    def decisions(self) -> DecisionSource | None:
        """Where what was decided is kept; None where it is not."""
        ...

    def workers(self) -> list[WorkerState]: ...

    def servers(self) -> Mapping[str, Heard | None]:
        """What was heard last of the servers that the policy chooses among by their load."""
        ...


@dataclass(slots=True)
class Console:
    """What the pages share, for as long as the service runs."""

    around: Surroundings
    counts: Counts
    revisions: Revisions
    workshop: Workshop
    words: Words
    sessions: Sessions = field(default_factory=Sessions)
    attempts: Attempts = field(default_factory=Attempts)

    @property
    def site(self) -> Site:
        return self.around.site

    @property
    def decisions(self) -> DecisionSource | None:
        return self.around.decisions


@dataclass(frozen=True, slots=True)
class Visit:
    """A request for a page, by somebody who may see it. cookie: the session's. form: its fields, where it is a POST."""

    console: Console
    request: Request
    session: Session
    token: TokenRecord
    cookie: str
    now: datetime
    form: Mapping[str, str]

    def may(self, role: Role) -> bool:
        return self.token.allows(role)

    def page(self, template: str, status: HTTPStatus = HTTPStatus.OK, **values: Any) -> Response:
        """A page, or a part of one. What the session has to tell is told by whole pages."""
        whole = not is_part(self.request)
        notice, self.session.notice = (self.session.notice, None) if whole else (None, self.session.notice)
        return HTMLResponse(render(template, **{"notice": notice, **self._known(), **values}), status)

    def done(self, notice: str, path: str, *, wrong: bool = False) -> Response:
        """After a change: the page at `path`, which begins with `notice`. wrong: nothing was changed, and why."""
        self.session.notice = (notice, wrong)
        return RedirectResponse(path, HTTPStatus.SEE_OTHER)

    def call(self, query: Any = None, body: Any = None, **path: str) -> Call[Any, Any]:
        """An operation of the admin API, by the same token."""
        return Call(self.console.site, self.token, path, query or Nothing(), body, self.now)

    async def changed(self, operation: str) -> None:
        """Something was changed by the page's visitor."""
        await self.console.site.changed(self.token, operation, self.request.url.path)

    def query(self, model: type[Asked]) -> Asked:
        """The query's parameters; empty ones are fields left empty. Raises ApiError."""
        return read(model, dict(self.request.query_params), "query")

    def fields(self, model: type[Asked]) -> Asked:
        """The form's fields. Raises ApiError."""
        return read(model, self.form, "form")

    def _known(self) -> Mapping[str, Any]:
        roles = {str(role): self.may(role) for role in Role}
        return {
            "csrf": self.console.words.of(self.cookie), "holder": self.token.holder, "roles": self.token.roles, "may": roles,
            "path": self.request.url.path, "now": self.now,
        }  # fmt: skip


def read(model: type[Asked], given: Mapping[str, str], what: str) -> Asked:
    """Fields that are empty are left out; unknown ones are refused. Raises ApiError."""
    try:
        return model.model_validate_strings({name: value for name, value in given.items() if value.strip() and name != "csrf"})
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        problems = [Problem(where=".".join([what, *map(str, one["loc"])])[:200], message=one["msg"]) for one in found[:20]]
        raise invalid(problems) from None


def is_part(request: Request) -> bool:
    """Whether htmx asks, which puts the answer into the page that is there."""
    return "hx-request" in request.headers


Handler = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Page:
    """One row of the table. role: who may. by_itself: pages ask for it without anybody touching them."""

    path: str
    role: Role
    handler: Handler
    method: str = "GET"
    by_itself: bool = False
