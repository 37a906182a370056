"""Requests of the API, from bytes to values. Everything may be hostile, and every reading has a limit."""

import asyncio
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from starlette.requests import ClientDisconnect, Request

from headrace.ext_proc.admin.errors import ApiError, Problem, invalid

BODY_MAX = 64 * 1024
"""Bytes. The largest body there is use for names some models and a reason, 2 KB."""
BODY_S = 10.0
"""For a body to arrive: who sends it more slowly holds a connection and nothing else."""
PROBLEMS_MAX = 20

Model = TypeVar("Model", bound=BaseModel)


def read_query(request: Request, model: type[Model]) -> Model:
    """The query's parameters, each given once. Raises ApiError."""
    pairs = request.query_params.multi_items()
    given = dict(pairs)
    if len(given) != len(pairs):
        raise invalid([Problem(where="query", message="a parameter is given twice")])
    try:
        return model.model_validate_strings(given)
    except ValidationError as error:
        raise invalid([_problem("query", one) for one in _errors(error)]) from None


async def read_body(request: Request, model: type[Model]) -> Model:
    """The body, which is JSON. Raises ApiError."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        message = "The body is JSON; say so with 'content-type: application/json'."
        raise ApiError("request.media_type", message)
    try:
        return model.model_validate_json(await content(request), strict=True)
    except ValidationError as error:
        raise invalid([_problem("body", one) for one in _errors(error)]) from None


async def content(request: Request, most: int = BODY_MAX) -> bytes:
    """The body, of `most` bytes. Raises ApiError."""
    read = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                read += chunk
                if len(read) > most:
                    raise ApiError("request.too_large", f"The body is over {most:,} bytes.", headers={"connection": "close"})
    except (TimeoutError, ClientDisconnect):
        message = "the body did not arrive"
        raise invalid([Problem(where="body", message=message)], {"connection": "close"}) from None
    return bytes(read)


def _errors(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_context=False, include_input=False)[:PROBLEMS_MAX]


def _problem(source: str, error: ErrorDetails) -> Problem:
    """Values are not repeated: a secret may have been put into the wrong place."""
    where = ".".join([source, *map(str, error["loc"])])
    return Problem(where=where[:200], message=error["msg"])
