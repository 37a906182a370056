"""Structured logs: one JSON object a line on standard error. Never a prompt, never a credential: callers log names and numbers."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

LEVELS: Final = ("debug", "info", "warning", "error")
NOISY: Final = (
    "asyncio", "filelock", "grpc", "hpack", "httpcore", "httpx", "opentelemetry", "presidio-analyzer",
    "spacy", "tldextract", "urllib3", "uvicorn", "watchfiles",
)  # fmt: skip
"""Libraries that are heard from warnings on only: below that, some of them log requests."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
MAX_VALUE = 2_000
"""Characters of one value."""


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message, what was given as `extra`, and `context`, which every line carries."""

    def __init__(self, context: dict[str, Any]) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        extra = {name: value for name, value in vars(record).items() if name not in _STANDARD}
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {"time": at, "level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        line |= self._context | extra | ({"exception": self._traceback(record)} if record.exc_info else {})
        return json.dumps({name: _bounded(value) for name, value in line.items()}, default=str)

    def _traceback(self, record: logging.LogRecord) -> str:
        """Where it happened and the type; the exception's words are left out, they may quote a request."""
        assert record.exc_info is not None
        kind, _, trace = record.exc_info
        places = []
        while trace is not None:
            places.append(f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}")
            trace = trace.tb_next
        return " < ".join([kind.__name__ if kind else "none", *reversed(places[-8:])])


def _bounded(value: Any) -> Any:
    return value[:MAX_VALUE] if isinstance(value, str) else value


def configure(level: str, **context: Any) -> None:
    """Sends every log record of this process to standard error. level: one of LEVELS."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter(context))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level.upper())))
