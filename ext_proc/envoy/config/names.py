"""The names that Envoy's configuration and the service share, and the limits both sides count on."""

from enum import StrEnum
from typing import Final

CLUSTER: Final = "headrace"
"""Envoy cluster of the service: external processing and the access log both go there."""

NAMESPACE: Final = "headrace"
"""Dynamic metadata the service returns (exchange, lease, route, …)."""

USAGE_NAMESPACE: Final = "headrace.usage"
"""Dynamic metadata Envoy itself reads from the upstream's answer."""

ROUTE_HEADER: Final = "x-headrace-route"
"""Set by the service, matched by the route table, removed before the upstream."""

REASON_HEADER: Final = "x-headrace-reason"
OWN_HEADER_PREFIX: Final = "x-headrace-"


class UsageReader(StrEnum):
    """Who reads the usage in answers."""

    GATEWAY = "gateway"
    """Envoy, which tells the service by its access log; answers that no filter reads do not leave it."""

    SERVICE = "service"
    """Where Envoy lacks the filter for streams, as before 1.38 and in Istio's proxy: every answer passes through the service."""


CAPABILITIES_HEADER: Final = "headrace-capabilities"
CAPABILITIES: Final = {UsageReader.GATEWAY: ("access-log", "mode-override"), UsageReader.SERVICE: ("mode-override",)}
"""In ext_proc's gRPC initial metadata. access-log: usage is read natively and the gRPC access log is wired. mode-override: the
answer leaves Envoy only where the service asks for it."""

FAILOVER: Final = "failover"
"""One more of them: the routes ask the next candidate where one fails."""

MESSAGE_TIMEOUT: Final = 5.0
"""Seconds that Envoy waits for one answer of the service, unless it is told otherwise."""
ANSWER_WITHIN: Final = "answer-within="
"""One more, with milliseconds behind it, where Envoy waits for another time: what the service may take for an answer."""
ANSWER_SHARE: Final = 0.9
"""Of the message timeout: so that the caller reads the service's error and not Envoy's."""

CANDIDATES_NAMESPACE: Final = "headrace.candidates"
"""Dynamic metadata the service returns: the upstreams of one request in their order, for Envoy's cluster specifier."""

PICKED_NAMESPACE: Final = "envoy.lb"
SUBSET_NAMESPACE: Final = "envoy.lb.subset_hint"
PICKED: Final = "x-gateway-destination-endpoint"
SERVED: Final = "x-gateway-destination-endpoint-served"
"""Of the Endpoint Picker Protocol, proposal 004 of the Gateway API Inference Extension."""

UPSTREAM_HEADER: Final = "headrace-upstream"
"""In the gRPC initial metadata of an upstream's own ext_proc filter: which upstream the attempt goes to."""

RETRY_HEADERS: Final = r"x-envoy-(max-retries|upstream-rq-per-try-timeout-ms)"
"""Set by the service, read and removed by Envoy's router: the attempts of one request."""

CLIENT_RETRY_HEADERS: Final = r"x-envoy-(max-retries|retr.*|retriable.*|hedge.*|upstream-.*)"
"""What a client could ask Envoy's router for; removed at the door."""

SETTLE_KEY: Final = "settle"
"""Present in the service's metadata where usage is to be read from the answer."""

EXT_PROC_FILTER: Final = "headrace.ext_proc"
JSON_FILTER: Final = "headrace.usage.json"
SSE_FILTER: Final = "headrace.usage.sse"
ATTEMPT_FILTER: Final = "headrace.attempt"
EARLY_HEADERS: Final = "headrace.own_headers"
LOG_NAME: Final = "headrace"

MIB: Final = 1024 * 1024
BODY_LIMIT: Final = 16 * MIB
"""Bytes of a prompt. A million tokens of text are about 4 MiB; images in base64 come on top."""

CONCURRENCY: Final = 100_000
"""Requests at once towards the service. Envoy's default of 1024 answers the 1025th with 500."""

MAX_EVENT: Final = 10 * MIB
"""Bytes of one server-sent event, the most Envoy accepts: OpenAI's `response.completed` repeats the whole answer."""

RESPONSE_HEADERS: Final = {
    "x-headrace-exchange": "exchange",
    "x-headrace-route": "route",
    REASON_HEADER: "reason",
    "x-ratelimit-limit-tokens": "ratelimit_limit_tokens",
    "x-ratelimit-remaining-tokens": "ratelimit_remaining_tokens",
    "x-ratelimit-reset-tokens": "ratelimit_reset_tokens",
    "x-ratelimit-limit-requests": "ratelimit_limit_requests",
    "x-ratelimit-remaining-requests": "ratelimit_remaining_requests",
    "x-ratelimit-reset-requests": "ratelimit_reset_requests",
}
"""Response header → key of the metadata namespace. A key that is missing adds no header."""
