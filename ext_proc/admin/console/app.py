"""The console as an ASGI application: a route for each row of the table of pages, login and logout, and the headers of all."""

import secrets
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import quote, urlsplit

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from headrace.ext_proc.admin.access import checked, known, record_of
from headrace.ext_proc.admin.console.forms import CSRF, fields
from headrace.ext_proc.admin.console.frame import CALLER, COOKIE, PREFIX, Console, Page, Visit, is_part
from headrace.ext_proc.admin.console.log import LogUnreadable
from headrace.ext_proc.admin.console.pages import PAGES
from headrace.ext_proc.admin.console.rendering import HTMX, render
from headrace.ext_proc.admin.console.sessions import LASTS
from headrace.ext_proc.admin.errors import ApiError
from headrace.ext_proc.admin.guarding import Guarded
from headrace.ext_proc.admin.tokens import ROSTER, Role
from headrace.ext_proc.core.ports import StoreUnavailable

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
STATIC = {HTMX: "text/javascript", "console.css": "text/css", "icon.svg": "image/svg+xml"}
OFF = "There is no admin token yet. Make one with `headrace admin token create`, and open this page again."

Answer = Callable[[Request], Awaitable[Response]]


class _LoggedOut(Exception):
    """Nobody is logged in, or not any more."""


def application(console: Console) -> ASGIApp:
    """To be mounted at PREFIX."""
    doors = _Doors(console)
    served = [
        Route("/login", _answered(doors.login_page), methods=["GET"]),
        Route("/login", _answered(doors.log_in), methods=["POST"]),
        Route("/logout", _answered(doors.log_out), methods=["POST"]),
        Route("/static/{name}", _answered(_static), methods=["GET"]),
        *_routes(doors),
    ]
    app = Starlette(routes=served, exception_handlers={HTTPException: _unrouted, Exception: _failed})
    app.router.redirect_slashes = False  # to wherever the Host header says
    return Guarded(app, HEADERS)


def no_console(why: str) -> ASGIApp:
    """In its place where it must not be served."""

    async def refused(_: Request) -> Response:
        return _problem(HTTPStatus.FORBIDDEN, "The console is off", why)

    return Guarded(Starlette(routes=[Route("/{path:path}", refused)]), HEADERS)


def _routes(doors: "_Doors") -> Iterator[BaseRoute]:
    for page in PAGES:
        yield Route(page.path, _answered(_of_page(doors, page)), methods=[page.method])


def _of_page(doors: "_Doors", page: Page) -> Answer:
    async def answer(request: Request) -> Response:
        return await page.handler(await doors.visit(request, page))

    return answer


def _answered(answer: Answer) -> Answer:
    """With every refusal as a page."""

    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except _LoggedOut:
            return _to_login(request)
        except ApiError as error:
            return _problem(error.status, _TITLES.get(error.status, "That cannot be done"), str(error), request)
        except StoreUnavailable:
            said = "Nothing can be looked up, and nobody logged in, until it answers again."
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "The store does not answer", said, request)
        except LogUnreadable as error:
            return _problem(HTTPStatus.SERVICE_UNAVAILABLE, "The decision log cannot be read", str(error), request)

    return answered


_TITLES = {
    HTTPStatus.FORBIDDEN: "That is not allowed",
    HTTPStatus.NOT_FOUND: "There is no such thing",
    HTTPStatus.UNAUTHORIZED: "Not logged in",
}


class _Doors:
    """Who may come in."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def visit(self, request: Request, page: Page) -> Visit:
        """Raises _LoggedOut, ApiError and StoreUnavailable."""
        site, now = self._console.site, self._console.site.now()
        cookie = request.cookies.get(COOKIE, "")
        session = self._console.sessions.of(cookie, now, by_person=not page.by_itself)
        if session is None:
            raise _LoggedOut
        token = await record_of(site.store, session.token)
        if token is None or token.revoked or token.is_expired(now):
            self._console.sessions.end(cookie)
            raise _LoggedOut
        checked(token, page.role, now)
        form = await self._form(request, cookie) if page.method == "POST" else {}
        return Visit(self._console, request, session, token, cookie, now, form)

    async def _form(self, request: Request, cookie: str) -> dict[str, str]:
        """Raises ApiError for one that another page has sent."""
        if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise ApiError("auth.forbidden", "Another site has sent this form.")
        form = dict(await fields(request))
        self._console.words.check(cookie, form.pop(CSRF, ""))
        return form

    async def login_page(self, request: Request) -> Response:
        if not await self._console.site.store.listed_since(ROSTER, 0, limit=1):
            return _problem(HTTPStatus.NOT_FOUND, "The console is off", OFF)
        return self._login_page(request)

    def _login_page(self, request: Request, problem: str = "", status: HTTPStatus = HTTPStatus.OK) -> Response:
        cookie = request.cookies.get(CALLER) or secrets.token_urlsafe(32)
        next = _own_path(request.query_params.get("next", ""))
        page = HTMLResponse(render("login.html", csrf=self._console.words.of(cookie), problem=problem, next=next), status)
        self._set(page, CALLER, cookie)
        return page

    async def log_in(self, request: Request) -> Response:
        """Raises ApiError for a form of another page, and StoreUnavailable."""
        form = await self._form(request, request.cookies.get(CALLER, ""))
        address, now = request.client.host if request.client else "", self._console.site.now()
        if wait_s := self._console.attempts.wait_s(address, now):
            page = self._login_page(request, f"Too many attempts. Try again in {wait_s} s.", HTTPStatus.TOO_MANY_REQUESTS)
            page.headers["retry-after"] = str(wait_s)
            return page
        try:
            token = checked(await known(self._console.site.store, form.get("token", "").strip()), Role.VIEWER, now)
        except ApiError as error:
            self._console.attempts.failed(address, now)
            return self._login_page(request, str(error), HTTPStatus.UNAUTHORIZED)
        answer = RedirectResponse(_own_path(form.get("next", "")), HTTPStatus.SEE_OTHER)
        self._set(answer, COOKIE, self._console.sessions.begin(token.id, now))
        answer.delete_cookie(CALLER, path=PREFIX)
        return answer

    async def log_out(self, request: Request) -> Response:
        cookie = request.cookies.get(COOKIE, "")
        await self._form(request, cookie)
        self._console.sessions.end(cookie)
        answer = RedirectResponse(f"{PREFIX}/login", HTTPStatus.SEE_OTHER)
        answer.delete_cookie(COOKIE, path=PREFIX)
        return answer

    def _set(self, answer: Response, name: str, value: str) -> None:
        lasts = int(LASTS.total_seconds())
        secure = self._console.around.secure
        answer.set_cookie(name, value, max_age=lasts, path=PREFIX, secure=secure, httponly=True, samesite="strict")


def _own_path(path: str) -> str:
    """A page of the console, whatever a link said."""
    parts = urlsplit(path)
    own = not parts.scheme and not parts.netloc and path.startswith(f"{PREFIX}/") and path.isprintable() and "\\" not in path
    return path if own else f"{PREFIX}/"


def _to_login(request: Request) -> Response:
    where = request.url.path if request.method == "GET" else ""
    if is_part(request):
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"hx-redirect": f"{PREFIX}/login"})
    return RedirectResponse(f"{PREFIX}/login?next={quote(where, safe='/')}", HTTPStatus.SEE_OTHER)


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in STATIC:
        raise ApiError("not_found", "There is no such file.")
    content = files("headrace.ext_proc.admin.console").joinpath("static", name).read_bytes()
    return Response(content, media_type=STATIC[name], headers={"cache-control": "public, max-age=3600"})


def _problem(status: HTTPStatus, title: str, message: str, request: Request | None = None) -> Response:
    if request is None or not is_part(request):
        return HTMLResponse(render("problem.html", title=title, message=message), status)
    target = request.headers.get("hx-target", "")  # what htmx puts this in the place of, and looks for the next time
    return HTMLResponse(render("_problem.html", title=title, message=message, target=target), status)


async def _unrouted(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "as it is registered"
    answer = _problem(HTTPStatus(error.status_code), "There is no such page", "The menu has those there are.")
    answer.headers.update(error.headers or {})  # which methods the address has, where it is the method that is wrong
    return answer


async def _failed(_: Request, error: Exception) -> Response:
    """A defect of ours. What it was is in the log, by its kind and place alone."""
    return _problem(HTTPStatus.INTERNAL_SERVER_ERROR, "This is a defect of Headrace", "Its log says more.")
