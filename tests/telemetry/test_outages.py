"""An outage of the store is told once, how it fails, and when it is over."""

import logging

import pytest

from headrace.ext_proc.core.ports import StoreUnavailable
from headrace.ext_proc.telemetry.outages import QUIET_S, Outages

SILENT = StoreUnavailable("cannot connect to the store: Error 111 connecting to 10.0.0.1:6379.")
FULL = StoreUnavailable("the store refused: OOM command not allowed when used memory > 'maxmemory'.")
REPLICA = StoreUnavailable("the store refused: READONLY You can't write against a read only replica.")


class Told:
    """The log's lines, and a clock by hand."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.now = 100.0
        self.outages = Outages(lambda: self.now)
        self._caplog = caplog

    def lines(self) -> list[tuple[str, str]]:
        return [(record.levelname, record.message) for record in self._caplog.records]

    def last(self, name: str) -> object:
        return vars(self._caplog.records[-1])[name]


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    caplog.set_level(logging.INFO)
    return Told(caplog)


DOES_NOT_ANSWER, REFUSES = ("WARNING", "the store does not answer"), ("WARNING", "the store refuses")
AGAIN = ("INFO", "the store answers again")


def test_an_outage_is_told_when_it_begins_and_when_it_is_over(told: Told) -> None:
    told.outages.answered("reserve")
    for _ in range(3):
        told.outages.failed(SILENT)
        told.now += 10
    assert told.lines() == [DOES_NOT_ANSWER]
    assert told.last("detail") == str(SILENT)
    told.outages.answered("time")
    told.outages.answered("time")
    assert told.lines() == [DOES_NOT_ANSWER, AGAIN]
    assert told.last("failed_seconds") == 20.0


def test_calls_that_fail_and_succeed_in_turn_are_one_outage(told: Told) -> None:
    for _ in range(100):
        told.outages.failed(SILENT)
        told.now += QUIET_S / 2
        told.outages.answered("reserve")
    assert told.lines() == [DOES_NOT_ANSWER]


def test_a_server_that_refuses_writes_is_well_when_it_takes_one(told: Told) -> None:
    told.outages.failed(FULL)
    told.now += 60
    told.outages.answered("time")
    told.outages.answered("listed_since")
    assert told.lines() == [REFUSES]
    assert told.last("detail") == "OOM command not allowed when used memory > 'maxmemory'."
    told.outages.answered("settle")
    assert told.lines() == [REFUSES, AGAIN]


def test_another_way_to_fail_is_told_too_but_not_at_once(told: Told) -> None:
    told.outages.failed(SILENT)
    told.outages.failed(REPLICA)
    assert told.lines() == [DOES_NOT_ANSWER]
    told.now += QUIET_S
    told.outages.failed(REPLICA)
    assert told.lines() == [DOES_NOT_ANSWER, REFUSES]


def test_what_a_server_quotes_of_a_call_is_left_out(told: Told) -> None:
    told.outages.failed(StoreUnavailable("the store refused: ERR unknown command 'FCALL', with args beginning with: 'hr:acme'"))
    assert told.last("detail") == "ERR unknown command 'FCALL'"


async def test_a_call_is_watched_and_ends_as_it_does(told: Told) -> None:
    async def call(error: StoreUnavailable | None) -> int:
        if error:
            raise error
        return 7

    assert await told.outages.watched("time", call(None)) == 7
    with pytest.raises(StoreUnavailable):
        await told.outages.watched("time", call(SILENT))
    assert told.lines() == [DOES_NOT_ANSWER]
