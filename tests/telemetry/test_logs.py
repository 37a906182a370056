"""Log lines are JSON, bounded, and without the words of exceptions."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.ext_proc.telemetry import logs


class Output:
    """Standard error."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def getvalue(self) -> str:
        return self._captured.readouterr().err


@pytest.fixture
def output(capsys: pytest.CaptureFixture[str]) -> Iterator[Output]:
    """What a test that configures logging writes; everything is put back after it."""
    root = logging.getLogger()
    before = root.handlers[:], root.level, {name: logging.getLogger(name).level for name in logs.NOISY}
    yield Output(capsys)
    root.handlers[:], root.level = before[0], before[1]
    for name, level in before[2].items():
        logging.getLogger(name).setLevel(level)


def only_line(output: Output) -> dict[str, Any]:
    (line,) = output.getvalue().splitlines()
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_line_holds_what_was_given_as_extra_and_the_context(output: Output) -> None:
    logs.configure("info", worker=3)
    logging.getLogger("headrace.test").warning("ended %s", "well", extra={"streams": 7})
    line = only_line(output)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "headrace.test", "message": "ended well", "worker": 3, "streams": 7}


def test_lines_below_the_level_are_left_out(output: Output) -> None:
    logs.configure("warning")
    logging.getLogger("headrace.test").info("quiet")
    assert output.getvalue() == ""


def test_other_people_s_libraries_are_heard_from_warnings_on(output: Output) -> None:
    logs.configure("debug")
    logging.getLogger("httpx").info("quiet")
    assert output.getvalue() == ""


def test_an_exception_is_named_and_placed_but_not_quoted(output: Output) -> None:
    logs.configure("info")
    try:
        raise ValueError("the prompt said: secret")
    except ValueError:
        logging.getLogger("headrace.test").exception("failed")
    line = only_line(output)
    assert line["exception"].startswith("ValueError < ")
    assert "test_logs.py" in line["exception"]
    assert "secret" not in str(line)


def test_long_values_are_cut(output: Output) -> None:
    logs.configure("info")
    logging.getLogger("headrace.test").info("x" * 10_000)
    assert len(only_line(output)["message"]) == logs.MAX_VALUE


def test_a_line_stays_a_line_whatever_is_logged(output: Output) -> None:
    logs.configure("info")
    logging.getLogger("headrace.test").info("two\nlines", extra={"odd": object(), "surrogate": "\ud800"})
    assert only_line(output)["message"] == "two\nlines"
