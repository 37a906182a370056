"""What the audit log's writer tells, as metrics."""

from headrace.ext_proc.telemetry.counting import Metrics


class AuditMeters:
    """Of one worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def written(self, records: int, size: int, seconds: float) -> None:
        self._metrics.audit_records.add((), records)
        self._metrics.audit_bytes.add((), size)
        self._metrics.audit_commits.observe((), seconds)

    def dropped(self, records: int) -> None:
        self._metrics.audit_dropped.add((), records)

    def failed(self) -> None:
        self._metrics.audit_failures.add()
