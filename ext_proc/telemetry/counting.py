"""A worker's metrics: told of every record, asked for samples."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from headrace.ext_proc.core.effects import Record
from headrace.ext_proc.core.ports import Clock
from headrace.ext_proc.engine.outcomes import KIND as CANDIDATE
from headrace.ext_proc.telemetry import metrics
from headrace.ext_proc.telemetry.calls import Finish, counted_usage, finished, operation_of, provider_of
from headrace.ext_proc.telemetry.metrics import OTHER
from headrace.ext_proc.telemetry.samples import Sample
from headrace.ext_proc.telemetry.tally import Counter, Histogram

KINDS: Final = {
    "input_tokens": "input",
    "output_tokens": "output",
    "cached_tokens": "cached",
    "reasoning_tokens": "reasoning",
}


class Metrics:
    """is_model: whether a name is one of the catalogue in force; any other is counted as `other`."""

    def __init__(self, is_model: Callable[[str], bool], clock: Clock) -> None:
        self._is_model = is_model
        self._clock = clock
        self._requests = Counter(metrics.REQUESTS)
        self._verdicts = Counter(metrics.VERDICTS)
        self._added = Histogram(metrics.ADDED)
        self._filters = Histogram(metrics.FILTER_DURATION)
        self._tokens = Counter(metrics.TOKEN_COUNT)
        self._spend = Counter(metrics.SPEND)
        self._settlements = Counter(metrics.SETTLEMENTS)
        self._failovers = Counter(metrics.FAILOVERS)
        self._usage = Histogram(metrics.TOKEN_USAGE)
        self._durations = Histogram(metrics.OPERATION_DURATION)
        self._first_chunks = Histogram(metrics.TIME_TO_FIRST_CHUNK)
        self.store = Histogram(metrics.STORE_DURATION)
        self.store_errors = Counter(metrics.STORE_ERRORS)
        self.effects_waiting = Counter(metrics.EFFECTS_WAITING)
        self.effects_dropped = Counter(metrics.EFFECTS_DROPPED)
        self.active_streams = Counter(metrics.ACTIVE_STREAMS)
        self.offload_waiting = Counter(metrics.OFFLOAD_WAITING)
        self.policy_info = Counter(metrics.POLICY_INFO)
        self.reload_failures = Counter(metrics.RELOAD_FAILURES)
        self.decisions_dropped = Counter(metrics.DECISIONS_DROPPED)
        self._budget_warnings = Counter(metrics.BUDGET_WARNINGS)
        self.alerts_dropped = Counter(metrics.ALERTS_DROPPED)
        self._pii_findings = Counter(metrics.PII_FINDINGS)
        self._pii_undeclared = Counter(metrics.PII_UNDECLARED)
        self.audit_records = Counter(metrics.AUDIT_RECORDS)
        self.audit_dropped = Counter(metrics.AUDIT_DROPPED)
        self.audit_failures = Counter(metrics.AUDIT_FAILURES)
        self.audit_bytes = Counter(metrics.AUDIT_BYTES)
        self.audit_commits = Histogram(metrics.AUDIT_COMMIT)
        self.audit_waiting = Counter(metrics.AUDIT_WAITING)
        self._candidate_exchanges = Counter(metrics.CANDIDATE_EXCHANGES)
        self._candidate_changes = Counter(metrics.CANDIDATE_CHANGES)

    def samples(self) -> Iterable[Sample]:
        """Every series as it stands."""
        for tally in vars(self).values():
            if isinstance(tally, Counter | Histogram):
                yield from tally.samples()

    def policy(self, revision: str, filters: Iterable[str]) -> None:
        """`revision` is in force. filters: their failures are counted from 0 on, or Prometheus would not see the first rise."""
        self.policy_info.clear()
        self.policy_info.set(1, (revision,))
        for name in filters:
            for reason in ("", f"{name}.failed"):  # of one that fails open, and of one that fails closed
                self._verdicts.add((name, "failed", reason), 0)

    def observe(self, record: Record) -> None:
        """An observer of the effect runner."""
        members = record.members
        if record.kind == "decision":
            self._decision(members)
        elif record.kind == "settlement":
            self._settlement(members)
        elif record.kind == "budget_warning":
            self._budget_warnings.add((members["budget"],))
        elif record.kind == CANDIDATE:
            self._candidate(members)
        if usage := counted_usage(record):
            self._count_tokens(_who(members, self._model(_model_of(members))), usage)
        if (finish := finished(record, self._clock.now_ms())) is not None:
            self._call(finish)

    def _decision(self, members: Mapping[str, Any]) -> None:
        endpoint = members.get("endpoint") or OTHER
        self._requests.add((endpoint, members["outcome"], members.get("reason", "")))
        self._added.observe((endpoint,), members["elapsed_us"] / 1e6)
        for step in members.get("steps", ()):
            self._verdicts.add((step["filter"], step["outcome"], step["reason"]))
            self._filters.observe((step["filter"], step["phase"]), step["us"] / 1e6)
            if step["filter"] == "pii" and (note := step.get("note")):
                self._personal_data(note, endpoint)

    def _candidate(self, members: Mapping[str, Any]) -> None:
        self._candidate_exchanges.add((members["outcome"],))
        team = members.get("principal", {}).get("team", "")
        for change in members.get("changes", ()):
            self._candidate_changes.add((team, change))

    def _personal_data(self, note: Mapping[str, Any], endpoint: str) -> None:
        for entity, count in note.get("findings", {}).items():
            self._pii_findings.add((entity,), count)
        if "undeclared" in note:
            self._pii_undeclared.add((endpoint,))

    def _settlement(self, members: Mapping[str, Any]) -> None:
        self._settlements.add((members["outcome"],))
        if members["outcome"] == "dropped":
            self.effects_dropped.add()
        if "usd" in members:
            self._spend.add((self._model(members.get("model")),), float(members["usd"]))

    def _call(self, finish: Finish) -> None:
        if finish.refused:  # no call was made
            return
        for upstream in finish.failed:
            self._failovers.add((upstream, finish.route or OTHER))
        who = (operation_of(finish.endpoint), provider_of(finish.endpoint), self._model(finish.model))
        self._durations.observe((*who, finish.error), finish.duration_ms / 1e3)
        if finish.stream and finish.first_byte_ms is not None:
            self._first_chunks.observe(who, finish.first_byte_ms / 1e3)

    def _count_tokens(self, who: tuple[str, str, str], usage: Mapping[str, int]) -> None:
        for member, kind in KINDS.items():
            if amount := usage.get(member, 0):
                self._tokens.add((who[2], kind), amount)
        self._usage.observe((*who, "input"), usage["input_tokens"])
        self._usage.observe((*who, "output"), usage["output_tokens"])

    def _model(self, name: Any) -> str:
        return name if isinstance(name, str) and self._is_model(name) else OTHER


def _model_of(members: Mapping[str, Any]) -> Any:
    """The catalogue's name; what the client calls the model is no label."""
    return members.get("metadata", members).get("model")


def _who(members: Mapping[str, Any], model: str) -> tuple[str, str, str]:
    endpoint = members.get("endpoint", "")
    return operation_of(endpoint), provider_of(endpoint), model
