"""Envoy's own refusals in the caller's dialect: a body over the limit, a service or a model server that does not answer.

The service's refusals are replies of Envoy's, too; they are known by their details, which are the reason (`budget.exhausted`), and
stay as they are. So does what a route of the configuration answers itself.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from headrace.ext_proc.core.dialect import error_document
from headrace.ext_proc.core.endpoint import Dialect
from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.envoy.config.names import NAMESPACE, REASON_HEADER
from headrace.ext_proc.envoy.config.stubs import PackedAny, Struct, accesslog, cel, core, hcm

EXCHANGE: Final = f"%DYNAMIC_METADATA({NAMESPACE}:exchange)%"
KEPT: Final = "response.code_details.matches('^[a-z_]+[.][a-z_]+$') || response.code_details == 'direct_response'"
_TOLD: Final = f"metadata.filter_metadata['{NAMESPACE}']"
_ASKED: Final = f"'{NAMESPACE}' in metadata.filter_metadata && 'path' in {_TOLD} ? {_TOLD}['path'] : request.path"
"""The caller's path: an attempt at an upstream of another dialect, or with a path of its own, has changed the request's."""

ANTHROPIC_PATH: Final = f"({_ASKED}).matches('/v1/messages([/?]|$)')"
OPENAI_PATH: Final = f"({_ASKED}).matches('/(completions|embeddings|responses)([/?]|$)')"


@dataclass(frozen=True)
class Kind:
    """One kind of refusal: `when` is the CEL expression that tells it. status: as Envoy gives it, for the error's type.

    is_final: to ask again does not help; `status` is then given in place of Envoy's.
    """

    when: str
    status: int
    reason: str
    message: str
    is_final: bool = False


KINDS: Final = (
    Kind("response.code == 413", 413, "body.too_large", "The request body is larger than this gateway accepts."),
    Kind(
        "response.code_details.startsWith('ext_proc_error') && has(upstream.address)",
        500,
        "gateway.unchecked",
        "The gateway could not check the model server's answer, so it was not passed on. Please try again.",
    ),
    Kind(
        "response.code_details.startsWith('ext_proc_error')",
        500,
        "gateway.unavailable",
        "The gateway could not check your request, so it was not sent on. Please try again.",
    ),
    Kind(
        "response.code_details == 'response_payload_too_large'",
        502,
        "response.too_large",
        "The model server's answer is larger than this gateway can read whole.",
        is_final=True,
    ),
    Kind(
        "response.code_details == 'upgrade_failed' && 'upgrade' in request.headers",
        426,
        "body.websocket",
        "This gateway carries no WebSockets. Send the request with POST, without an upgrade.",
        is_final=True,
    ),
    Kind("response.code_details == 'route_not_found'", 404, "path.unknown", "This gateway does not serve this path."),
    Kind("response.code == 408", 408, "request.timeout", "The request did not arrive in time. Please try again."),
    Kind("response.code == 431", 431, "request.headers_too_large", "The request's headers are larger than this gateway accepts."),
    Kind("response.code == 400", 400, "request.malformed", "This is no HTTP request that the gateway understands."),
    Kind("response.code == 504", 504, "upstream.timeout", "The model server did not answer in time. Please try again."),
    Kind(
        "response.code == 502 || response.code == 503",
        503,
        "upstream.unavailable",
        "The model server cannot be reached at the moment. Please try again.",
    ),
)
"""The first that applies. What is none of them keeps Envoy's words."""


BROUGHT: Final = frozenset({"body.too_large", "body.websocket", "gateway.unavailable", "gateway.unchecked", "response.too_large"})
"""Reasons of what a gateway refuses because Headrace is there, or what callers are to do otherwise because of it."""


def local_replies() -> hcm.LocalReplyConfig:
    """All kinds, whatever path was asked for: of a gateway that serves models alone."""
    return hcm.LocalReplyConfig(mappers=list(_mappers(KINDS)))


def replies_to_calls() -> list[hcm.ResponseMapper]:
    """What comes with Headrace, on paths of models alone: for a listener that serves others, too."""
    return list(_mappers([kind for kind in KINDS if kind.reason in BROUGHT], f" && {OPENAI_PATH}"))


def _mappers(kinds: Sequence[Kind], narrowed: str = "") -> Iterator[hcm.ResponseMapper]:
    for kind in kinds:
        yield _mapper(kind, Dialect.ANTHROPIC, f"!({KEPT}) && ({kind.when}) && {ANTHROPIC_PATH}")
        yield _mapper(kind, Dialect.OPENAI, f"!({KEPT}) && ({kind.when}){narrowed}")


def _mapper(kind: Kind, dialect: Dialect, when: str) -> hcm.ResponseMapper:
    reply = Reply(kind.status, kind.reason, kind.message)
    document = error_document(reply, dialect, EXCHANGE)
    return hcm.ResponseMapper(
        filter=accesslog.AccessLogFilter(extension_filter=_expression(when)),
        body_format_override=core.SubstitutionFormatString(json_format=Struct.from_dict(document)),
        status_code=kind.status if kind.is_final else None,
        headers_to_add=[_header(REASON_HEADER, kind.reason), *([_header("x-should-retry", "false")] if kind.is_final else [])],
    )


def _expression(when: str) -> accesslog.ExtensionFilter:
    return accesslog.ExtensionFilter(
        name="envoy.access_loggers.extension_filters.cel", typed_config=PackedAny.pack(cel.ExpressionFilter(expression=when))
    )


def _header(name: str, value: str) -> core.HeaderValueOption:
    """In place of what the route has written: the reason of a routing decision is none of a refusal."""
    return core.HeaderValueOption(
        header=core.HeaderValue(key=name, value=value),
        append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
