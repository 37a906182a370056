"""Errors as the caller's SDK reads them: OpenAI's and Anthropic's bodies, whole and as the last event of a stream."""

import json
from collections.abc import Mapping
from typing import Any

from headrace.ext_proc.core.endpoint import Dialect
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import Reply

# https://platform.openai.com/docs/guides/error-codes and https://docs.anthropic.com/en/api/errors
_OPENAI_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    426: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
}
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    426: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
    503: "overloaded_error",
}


def error_document(reply: Reply, dialect: Dialect, exchange: str) -> dict[str, Any]:
    """The JSON document for `reply`. `code` is the reason, in both dialects."""
    if dialect is Dialect.ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(reply.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": reply.message, "code": reply.reason}, "request_id": exchange}
    kind = _OPENAI_TYPES.get(reply.status, "server_error")
    return {"error": {"message": reply.message, "type": kind, "param": reply.param, "code": reply.reason}}


def error_body(reply: Reply, dialect: Dialect, exchange: str) -> bytes:
    """UTF-8 JSON. Escaped throughout: a message may quote a caller's lone surrogate."""
    return json.dumps(error_document(reply, dialect, exchange)).encode()


_REQUEST_ID = {Dialect.OPENAI: "x-request-id", Dialect.ANTHROPIC: "request-id"}
"""Where the SDKs look for the id that their errors show."""


def error_headers(reply: Reply, dialect: Dialect, exchange: str) -> Mapping[str, str]:
    """Headers of an immediate reply; `x-should-retry` is what the OpenAI and Anthropic SDKs honour."""
    headers = {"content-type": "application/json", "x-headrace-exchange": exchange, "x-headrace-reason": reply.reason}
    headers[_REQUEST_ID[dialect]] = exchange
    if reply.retry_after is not None:
        headers["retry-after"] = str(max(1, reply.retry_after))
    else:
        headers["x-should-retry"] = "false"
    return headers | dict(reply.headers)


def error_event(reply: Reply, dialect: Dialect, exchange: str) -> SseEvent:
    """The last event of a stream that is ended before its time."""
    name = "error" if dialect is Dialect.ANTHROPIC else None
    return SseEvent.of(json.dumps(error_document(reply, dialect, exchange)), name)
