"""The API as an ASGI application: a route for each operation of the table, and refusals in JSON whatever happens."""

import logging
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from headrace.ext_proc.admin.access import admitted
from headrace.ext_proc.admin.errors import ApiError, ErrorBody
from headrace.ext_proc.admin.guarding import Guarded
from headrace.ext_proc.admin.openapi import document
from headrace.ext_proc.admin.operation import MOST_PATH, Call, Operation, Site
from headrace.ext_proc.admin.operations import OPERATIONS
from headrace.ext_proc.admin.reading import read_body, read_query
from headrace.ext_proc.admin.tokens import TokenRecord
from headrace.ext_proc.core.ports import StoreUnavailable

PREFIX = "/api/v1"
HEADERS = {"x-content-type-options": "nosniff"}
RETRY_S = "1"

log = logging.getLogger(__name__)


def api(site: Site) -> ASGIApp:
    """To be mounted at PREFIX."""
    app = Starlette(routes=list(_routes(site)), exception_handlers={HTTPException: _unrouted, Exception: _failed})
    app.router.redirect_slashes = False  # a client would show its token wherever the Host header says
    return Guarded(app, HEADERS)


def no_api(why: str) -> ASGIApp:
    """In its place where it must not be served."""
    return Guarded(_refusal(ApiError("api.off", why)), HEADERS)


def _routes(site: Site) -> Sequence[BaseRoute]:
    served = [_Served(site, operation) for operation in OPERATIONS]
    return [
        Route("/openapi.json", _openapi, methods=["GET"]),
        *(Route(one.operation.path, one, methods=[one.operation.method], name=one.operation.name) for one in served),
    ]


_document = document(OPERATIONS)


async def _openapi(_: Request) -> Response:
    return JSONResponse(_document)


class _Served:
    """One operation."""

    def __init__(self, site: Site, operation: Operation[Any, Any]) -> None:
        self._site, self.operation = site, operation

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._answered(request)
        except StoreUnavailable:
            response = _refusal(_away(changing=self.operation.method != "GET"))
        except ApiError as error:
            response = _refusal(error)
        await response(scope, receive, send)

    async def _answered(self, request: Request) -> Response:
        """Whether the caller may is decided before anything of the request is read. Raises ApiError and StoreUnavailable."""
        operation, now = self.operation, self._site.now()
        token = await admitted(self._site.store, request.headers.getlist("authorization"), operation.role, now)
        query = read_query(request, operation.query)
        body = await read_body(request, operation.body) if operation.body else None
        answer = await operation.handler(Call(self._site, token, request.path_params, query, body, now))
        if operation.method != "GET":
            _note(operation, token, request)
            await self._site.changed(token, operation.name, request.url.path)
        return JSONResponse(answer.model_dump(mode="json"), operation.status)


def _note(operation: Operation[Any, Any], token: TokenRecord, request: Request) -> None:
    said = {"operation": operation.name, "holder": token.holder, "token": token.id, "path": request.url.path[:MOST_PATH]}
    log.info("changed through the admin API", extra=said)


def _away(*, changing: bool) -> ApiError:
    message = "The store does not answer" + ("; whether this was done is unknown." if changing else ".")
    return ApiError("store.unavailable", message, headers={"retry-after": RETRY_S})


def _refusal(error: ApiError) -> Response:
    return JSONResponse(ErrorBody(error=error.fault).model_dump(mode="json"), error.status, dict(error.headers))


async def _unrouted(_: Request, error: Exception) -> Response:
    """What no route takes."""
    assert isinstance(error, HTTPException), "as it is registered"
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return _refusal(ApiError("method_not_allowed", "The path does not take this method.", headers=error.headers))
    return _refusal(ApiError("not_found", "There is no such path; GET /api/v1/openapi.json lists them."))


async def _failed(_: Request, error: Exception) -> Response:
    """A defect of ours. What it was is in the log, by its kind and place alone."""
    return _refusal(ApiError("internal", "This is a defect of Headrace; its log says more."))
