"""Alert rules for Prometheus over our metrics: https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal


@dataclass(frozen=True)
class Rule:
    """lasts: how long it must hold. what: what it means, and what to do."""

    name: str
    severity: Literal["critical", "warning", "info"]
    holds: str
    lasts: str
    summary: str
    what: str


CALLS: Final = 'endpoint!="other"'
"""Of requests to no LLM endpoint, and of those another filter of the gateway answered, the endpoint is other."""

REFUSED: Final = (
    f'sum by (job) (rate(headrace_requests_total{{{CALLS}, outcome="refused"}}[10m]))'
    f" / sum by (job) (rate(headrace_requests_total{{{CALLS}}}[10m])) > 0.2"
)
SLOW: Final = f"histogram_quantile(0.99, sum by (job, le) (rate(headrace_added_duration_seconds_bucket{{{CALLS}}}[5m]))) > 0.25"
EXPIRES: Final = (
    "headrace_certificate_not_after_timestamp_seconds - time() < clamp_max("
    "(headrace_certificate_not_after_timestamp_seconds - headrace_certificate_not_before_timestamp_seconds) / 5, 7 * 86400)"
)
"""What is left of it: a week, or a fifth of its life where that is less, as of those that live for hours."""

RULES: Final = (
    Rule(
        "HeadraceWorkerDown",
        "critical",
        "headrace_worker_ready == 0",
        "1m",
        "Worker {{ $labels.worker }} of {{ $labels.instance }} does not serve",
        "Requests go to the other workers; with none left the gateway refuses them. The service's log says why it ended.",
    ),
    Rule(
        "HeadraceDown",
        "critical",
        "absent(headrace_worker_ready)",
        "2m",
        "No Headrace is there to be asked",
        "Every instance is down, or Prometheus does not reach --admin. Without the service the gateway refuses every request.",
    ),
    Rule(
        "HeadraceInstanceDown",
        "critical",
        "up == 0 and on (job, instance) last_over_time(headrace_worker_ready[1h])",
        "2m",
        "{{ $labels.instance }} is down",
        "It was there an hour ago at most, and Prometheus does not reach its --admin now. The gateway asks the other instances.",
    ),
    Rule(
        "HeadraceRestarts",
        "warning",
        "increase(headrace_worker_restarts_total[15m]) > 2",
        "0m",
        "Worker {{ $labels.worker }} of {{ $labels.instance }} keeps ending",
        "Its requests were refused or cut off. The service's log has its last words, the kernel's whether it was out of memory.",
    ),
    Rule(
        "HeadraceStoreErrors",
        "critical",
        "sum by (job, operation) (rate(headrace_store_errors_total[5m])) > 0",
        "2m",
        "The store does not answer {{ $labels.operation }}",
        "Budgets refuse, let through or admit from allowances, as on_store_down of the policy says. Look after Valkey or Redis.",
    ),
    Rule(
        "HeadraceSettlementsLost",
        "critical",
        "increase(headrace_effects_dropped_total[10m]) > 0",
        "0m",
        "Settlements were given up on {{ $labels.instance }}",
        "Their leases stand as reserved, so callers are charged too much. The store was away for longer than the queue holds.",
    ),
    Rule(
        "HeadraceSettlementsWait",
        "warning",
        "headrace_effects_waiting > 1000",
        "5m",
        "{{ $value }} settlements wait on {{ $labels.instance }}",
        "The store is slow or away. They are lost when 65,536 of one worker wait.",
    ),
    Rule(
        "HeadraceFilterFails",
        "critical",
        'sum by (job, filter) (rate(headrace_verdicts_total{outcome="failed"}[5m])) > 0',
        "2m",
        "The filter {{ $labels.filter }} fails",
        "Requests are refused, or go on without it where its on_error is open. The decision log has the errors.",
    ),
    Rule(
        "HeadracePolicyRefused",
        "warning",
        "sum by (job, instance) (headrace_policy_refused) > 0",
        "0m",
        "The policy's files on {{ $labels.instance }} are refused",
        "The policy before stays in force, but a worker that has to be replaced cannot start. `headrace check` says what is wrong.",
    ),
    Rule(
        "HeadraceCertificateRefused",
        "warning",
        "sum by (job, instance, listener) (headrace_certificate_refused) > 0",
        "1m",
        "The certificate of {{ $labels.listener }} on {{ $labels.instance }} is refused",
        "The one before is shown to callers until it expires, but a worker that has to be replaced cannot start. The service's log "
        "says why.",
    ),
    Rule(
        "HeadraceCertificateExpires",
        "critical",
        EXPIRES,
        "0m",
        "The certificate of {{ $labels.listener }} on {{ $labels.instance }} has {{ $value | humanizeDuration }} left",
        "After that gateways, or who asks the admin interface, refuse it. New files are taken without a restart.",
    ),
    Rule(
        "HeadracePoliciesDiffer",
        "warning",
        "count by (job) (sum by (job, revision) (headrace_policy_info) > 0) > 1",
        "5m",
        "Workers of {{ $labels.job }} have different policies in force",
        "A file did not reach every machine, or one of them refuses it.",
    ),
    Rule(
        "HeadraceSlow",
        "warning",
        SLOW,
        "10m",
        "Headrace adds {{ $value | humanizeDuration }} to one request in a hundred",
        "headrace_filter_duration_seconds says which filter, headrace_store_duration_seconds whether it is the store.",
    ),
    Rule(
        "HeadraceRefusesMuch",
        "info",
        REFUSED,
        "10m",
        "{{ $value | humanizePercentage }} of requests are refused",
        "headrace_requests_total says for which reasons; a new policy may do more than was meant.",
    ),
    Rule(
        "HeadraceFailsOver",
        "warning",
        "sum by (job, failed) (rate(headrace_failovers_total[5m])) > 0.1",
        "5m",
        "Requests leave the upstream {{ $labels.failed }}",
        "It fails or is too slow; the next candidate answers, at its own price.",
    ),
    Rule(
        "HeadraceAuditFails",
        "critical",
        "increase(headrace_audit_failures_total[5m]) > 0 or increase(headrace_audit_dropped_total[5m]) > 0",
        "0m",
        "The audit log of {{ $labels.instance }} is not written",
        "With on_full: block requests are refused with audit.unavailable, else records are lost. The service's log says why: the "
        "disk, max_disk_mb, the master key.",
    ),
    Rule(
        "HeadraceRecordsLost",
        "warning",
        "increase(headrace_decisions_dropped_total[15m]) > 0 or increase(headrace_alerts_dropped_total[15m]) > 0",
        "0m",
        "Records or events of {{ $labels.instance }} were lost",
        "The decision log's disk, or the webhook, does not take them.",
    ),
)


def alert_rules() -> Mapping[str, Any]:
    """The document of a rules file."""
    return {"groups": [{"name": "headrace", "rules": [_rule(rule) for rule in RULES]}]}


def _rule(rule: Rule) -> Mapping[str, Any]:
    return {
        "alert": rule.name,
        "expr": rule.holds,
        "for": rule.lasts,
        "labels": {"severity": rule.severity},
        "annotations": {"summary": rule.summary, "description": rule.what},
    }
