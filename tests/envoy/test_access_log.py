"""Access-log entries, built with Envoy's own message classes, become settlements."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Effect, Release, Settle
from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.errors import ProtocolError
from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.terms import Terms, written
from headrace.ext_proc.core.usage import Usage
from headrace.ext_proc.envoy.access_log import AccessLog, finished
from headrace.ext_proc.envoy.health import Health
from headrace.ext_proc.envoy.pb import headrace_access_log_pb2 as pb
from tests.envoy.messages import EnvoyStruct, accesslog, core, log_data

TERMS = Terms(1, "acme", None, None, None, None, "m", "m", Endpoint.CHAT, False, (8, 100), Price("0.6", "1"), None)
TOLD = {"exchange": "e1", "settle": "access_log", "lease": written(TERMS)}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4}


def entry(
    *, told: dict[str, Any] | None = TOLD, usage: dict[str, Any] | None = USAGE, status: int | None = 200, reached: bool = True,
    flags: Any = None, first_byte: bool = True, details: str = "via_upstream",
) -> Any:  # fmt: skip
    spaces = {"headrace": told, "headrace.usage": usage, "envoy.other": {"x": 1}}
    structs = {name: EnvoyStruct.from_dict(values) for name, values in spaces.items() if values is not None}
    common = log_data.AccessLogCommon(
        start_time=datetime(2026, 6, 1, 12, tzinfo=UTC),
        duration=timedelta(seconds=1, milliseconds=250),
        time_to_first_upstream_tx_byte=timedelta(milliseconds=2) if reached else None,
        time_to_first_downstream_tx_byte=timedelta(milliseconds=30) if first_byte else None,
        metadata=core.Metadata(filter_metadata=structs),
        response_flags=flags,
        upstream_cluster="standard",
    )
    response = log_data.HttpResponseProperties(response_code=status, response_code_details=details)
    return log_data.HttpAccessLogEntry(common_properties=common, response=response)


def read(built: Any) -> Any:
    return finished(pb.HTTPAccessLogEntry.FromString(bytes(built)))


def received(*entries: Any) -> Sequence[Effect]:
    effects: list[Effect] = []
    logs = accesslog.StreamAccessLogsMessageHttpAccessLogEntries(log_entry=list(entries))
    AccessLog(effects.extend).receive(bytes(accesslog.StreamAccessLogsMessage(http_logs=logs)))
    return effects


def test_an_entry_in_the_cores_terms() -> None:
    found = read(entry())
    assert found.metadata == TOLD
    assert found.usage == USAGE
    assert (found.status, found.reached_upstream) == (200, True)
    assert (found.duration_ms, found.first_byte_ms, found.start_ms) == (1250.0, 30.0, 1780315200000)


def test_an_entry_of_a_request_that_nobody_answered() -> None:
    found = read(entry(told=None, usage=None, status=None, reached=False, first_byte=False))
    assert (found.metadata, found.usage, found.status, found.reached_upstream) == ({}, {}, 0, False)
    assert found.first_byte_ms is None


def test_an_empty_entry() -> None:
    found = finished(pb.HTTPAccessLogEntry())
    assert (found.metadata, found.status, found.reached_upstream, found.start_ms) == ({}, 0, False, 0)


@pytest.mark.parametrize(
    ("details", "discarded"),
    [
        ("response_payload_too_large", True),
        ("upstream_reset_before_response_started{connection_termination}", False),
        ("response_timeout", False),
        ("via_upstream", False),
    ],
)
def test_an_answer_that_the_gateway_threw_away_is_paid_for(details: str, discarded: bool) -> None:
    built = entry(usage=None, status=500, details=details)
    assert read(built).discarded is discarded
    (effect,) = received(built)
    assert isinstance(effect, Settle if discarded else Release)
    assert not isinstance(effect, Settle) or effect.usage is None


FLAGS = [
    (log_data.ResponseFlags(upstream_connection_failure=True), False),
    (log_data.ResponseFlags(downstream_connection_termination=True), True),
    (log_data.ResponseFlags(upstream_remote_reset=True), True),
]


@pytest.mark.parametrize(("flags", "reached"), FLAGS)
def test_a_connection_that_failed_reached_nobody(flags: log_data.ResponseFlags, reached: bool) -> None:
    assert read(entry(flags=flags)).reached_upstream is reached


def test_values_that_are_no_scalars_are_empty() -> None:
    odd = {"prompt_tokens": None, "completion_tokens": [1], "input_tokens": {"a": 1}, "cached_tokens": True}
    assert read(entry(usage=odd)).usage == {"prompt_tokens": "", "completion_tokens": "", "input_tokens": "", "cached_tokens": True}


def test_what_is_no_text_was_not_told_by_us() -> None:
    assert read(entry(told={"exchange": 7, "settle": "access_log", "lease": ["x"], "route": None, "other": "y"})).metadata == {
        "settle": "access_log"
    }


def test_every_entry_of_a_message_is_settled_and_those_of_others_are_not() -> None:
    others = entry(told={"exchange": "e9"})
    refused = entry(usage=None, status=429, told=TOLD | {"exchange": "e2"})
    settle, release = received(entry(), others, entry(told=None), refused)
    assert isinstance(settle, Settle)
    assert (settle.organisation, settle.lease, settle.usage, settle.price) == ("acme", "e1", Usage(3, 4), Price("0.6", "1"))
    assert isinstance(release, Release)
    assert release.lease == "e2"


def test_a_message_without_entries_settles_nothing() -> None:
    effects: list[Effect] = []
    AccessLog(effects.extend).receive(b"")
    assert effects == []


def test_bytes_that_are_no_message_are_an_error() -> None:
    with pytest.raises(ProtocolError, match="no StreamAccessLogsMessage"):
        AccessLog(lambda _: None).receive(b"\x12\xff")


@pytest.mark.parametrize(("ready", "status"), [(True, b"\x08\x01"), (False, b"\x08\x02")])
def test_health_is_what_the_worker_says(ready: bool, status: bytes) -> None:
    assert Health(lambda: ready).check(b"\n\x07unknown") == status
