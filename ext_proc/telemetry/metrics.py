"""Every metric there is: its name, kind, labels and meaning. docs/operations.md shows this table.

Names follow OpenTelemetry's GenAI conventions (https://github.com/open-telemetry/semantic-conventions-genai) where they have one,
as its Prometheus exporters spell them.

Label values are bounded: a model is a name of the catalogue, a reason or a filter is a name in code, and what exceeds MAX_SERIES of
one family is counted under `other`.
"""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]

MAX_SERIES: Final = 2_000
"""Of one family in one worker; a policy of 100 models with 4 kinds of tokens makes 400."""
OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class Family:
    """name: without the suffix `_total` of a counter's samples. bounds: a histogram's upper bounds, ascending, without +Inf."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()


FAST: Final = (*(50e-6 * 2**step for step in range(11)), 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Seconds, for what Headrace itself takes: from 50 µs to the proxy's message time-out."""
CALLS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Seconds, as the conventions advise for operations."""
FIRST_CHUNK: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Seconds, as the conventions advise for the time to the first token."""
TOKENS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
"""Tokens, as the conventions advise."""

_GEN_AI: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")

# --- counted by the workers ------------------------------------------------------------------------------------------------

REQUESTS = Family(
    "headrace_requests",
    "counter",
    "Requests, by endpoint, by how they ended for Headrace and, where it ended them, by the reason.",
    ("endpoint", "outcome", "reason"),
)
VERDICTS = Family("headrace_verdicts", "counter", "What filters decided.", ("filter", "outcome", "reason"))
ADDED = Family(
    "headrace_added_duration_seconds", "histogram", "Time Headrace took for one exchange, over all its phases.", ("endpoint",), FAST
)
FILTER_DURATION = Family(
    "headrace_filter_duration_seconds", "histogram", "Time one filter took for one verdict.", ("filter", "phase"), FAST
)
TOKEN_COUNT = Family(
    "headrace_tokens",
    "counter",
    "Tokens as providers reported them; cached ones are part of input, reasoning ones of output.",
    ("model", "kind"),
)
SPEND = Family("headrace_spend_usd", "counter", "US dollars settled.", ("model",))
SETTLEMENTS = Family(
    "headrace_settlements",
    "counter",
    "Leases by what became of them: settled, kept (no usage was reported, the reserved amount stands), released, unknown_lease, "
    "unbudgeted, dropped.",
    ("outcome",),
)
FAILOVERS = Family(
    "headrace_failovers",
    "counter",
    "Requests that another upstream was asked for, by the one that failed and by the one that was asked last.",
    ("failed", "upstream"),
)
STORE_DURATION = Family("headrace_store_duration_seconds", "histogram", "Time the store took to answer.", ("operation",), FAST)
STORE_ERRORS = Family("headrace_store_errors", "counter", "Calls the store did not answer.", ("operation",))
EFFECTS_WAITING = Family("headrace_effects_waiting", "gauge", "Settlements that are not in the store yet.")
EFFECTS_DROPPED = Family("headrace_effects_dropped", "counter", "Settlements given up; their leases stand as reserved.")
ACTIVE_STREAMS = Family("headrace_active_streams", "gauge", "Exchanges that Headrace has open with the gateway.")
OFFLOAD_WAITING = Family("headrace_offload_waiting", "gauge", "Heavy jobs off the event loop, running or waiting.")
POLICY_INFO = Family("headrace_policy_info", "gauge", "Workers that have this revision in force.", ("revision",))
RELOAD_FAILURES = Family("headrace_policy_reload_failures", "counter", "Policies that were offered and refused.")
DECISIONS_DROPPED = Family("headrace_decisions_dropped", "counter", "Records the decision log could not write.")
BUDGET_WARNINGS = Family("headrace_budget_warnings", "counter", "Thresholds of budgets that were reached.", ("budget",))
ALERTS_DROPPED = Family("headrace_alerts_dropped", "counter", "Events that the webhook did not take.")
PII_FINDINGS = Family(
    "headrace_pii_findings", "counter", "Personal data found in requests and in answers that are no streams.", ("entity",)
)
PII_UNDECLARED = Family(
    "headrace_pii_undeclared", "counter", "Requests with text at a place that their API does not define.", ("endpoint",)
)
AUDIT_RECORDS = Family("headrace_audit_records", "counter", "Records of the audit log that are on disk.")
AUDIT_DROPPED = Family("headrace_audit_dropped", "counter", "Records that the audit log has lost.")
AUDIT_FAILURES = Family("headrace_audit_failures", "counter", "Batches that the audit log's disk did not take, each try by itself.")
AUDIT_BYTES = Family("headrace_audit_bytes", "counter", "Bytes written to the audit log.")
AUDIT_COMMIT = Family(
    "headrace_audit_commit_duration_seconds", "histogram", "Time a batch of records took to be on disk, fsync included.", (), FAST
)
AUDIT_WAITING = Family("headrace_audit_waiting", "gauge", "Records of the audit log that are not on disk yet.")
CANDIDATE_EXCHANGES = Family(
    "headrace_candidate_exchanges",
    "counter",
    "Exchanges on which the candidate policy was tried, by whether it would have decided the same; passed_over: it was too busy.",
    ("outcome",),
)
CANDIDATE_CHANGES = Family(
    "headrace_candidate_changes", "counter", "What the candidate policy would have done otherwise, by team.", ("team", "change")
)
TOKEN_USAGE = Family(
    "gen_ai_client_token_usage",
    "histogram",
    "Tokens of one call, by gen_ai_token_type: input or output.",
    (*_GEN_AI, "gen_ai_token_type"),
    TOKENS,
)
OPERATION_DURATION = Family(
    "gen_ai_client_operation_duration_seconds",
    "histogram",
    "Time of one call from the request's first byte to the answer's last; error_type is the status of one that failed.",
    (*_GEN_AI, "error_type"),
    CALLS,
)
TIME_TO_FIRST_CHUNK = Family(
    "gen_ai_client_operation_time_to_first_chunk_seconds",
    "histogram",
    "Time of a streamed call to the answer's first byte.",
    _GEN_AI,
    FIRST_CHUNK,
)

# --- known to the supervisor -----------------------------------------------------------------------------------------------

WORKERS_READY = Family("headrace_worker_ready", "gauge", "1 for a worker that serves; gone once it has drained.", ("worker",))
POLICY_REFUSED = Family(
    "headrace_policy_refused", "gauge", "1 for a worker that refuses what the policy's files hold now.", ("worker",)
)
CERTIFICATE_REFUSED = Family(
    "headrace_certificate_refused", "gauge", "1 where the files of the certificate cannot be used as they are now.", ("listener",)
)
CERTIFICATE_NOT_BEFORE = Family(
    "headrace_certificate_not_before_timestamp_seconds", "gauge", "Since when the certificate in force is valid.", ("listener",)
)
CERTIFICATE_NOT_AFTER = Family(
    "headrace_certificate_not_after_timestamp_seconds", "gauge", "Until when the certificate in force is valid.", ("listener",)
)
WORKER_RESTARTS = Family("headrace_worker_restarts", "counter", "Workers that ended and were started again.", ("worker",))

FAMILIES: Final = (
    REQUESTS, VERDICTS, ADDED, FILTER_DURATION, TOKEN_COUNT, SPEND, SETTLEMENTS, FAILOVERS, STORE_DURATION, STORE_ERRORS,
    EFFECTS_WAITING, EFFECTS_DROPPED, ACTIVE_STREAMS, OFFLOAD_WAITING, POLICY_INFO, RELOAD_FAILURES, DECISIONS_DROPPED,
    BUDGET_WARNINGS, ALERTS_DROPPED, PII_FINDINGS, PII_UNDECLARED,
    AUDIT_RECORDS, AUDIT_DROPPED, AUDIT_FAILURES, AUDIT_BYTES, AUDIT_COMMIT, AUDIT_WAITING, CANDIDATE_EXCHANGES, CANDIDATE_CHANGES,
    TOKEN_USAGE, OPERATION_DURATION, TIME_TO_FIRST_CHUNK,
    WORKERS_READY, POLICY_REFUSED, CERTIFICATE_REFUSED, CERTIFICATE_NOT_BEFORE, CERTIFICATE_NOT_AFTER, WORKER_RESTARTS,
)  # fmt: skip
