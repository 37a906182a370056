"""Exchanges of an audit log as the lines of a trace: what was asked, by whom, when, and what the answer used."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from headrace.ext_proc.audit.errors import AuditError, KeyGone
from headrace.ext_proc.audit.opening import Opened, opened
from headrace.ext_proc.audit.reading import Entry, Wanted, entries
from headrace.ext_proc.cli.replay.traces import Line, Named

_ASKED: Final = Wanted(kinds=frozenset({"forwarded", "decision"}))
_SETTLED: Final = Wanted(kinds=frozenset({"settlement"}))
_CALLER: Final = ("organisation", "team", "app", "user", "key")


def read_log(directory: Path, key_file: Path | None = None) -> Iterator[Named]:
    """The exchanges whose request can be read, in the order of their records. Raises AuditError where none can, and OSError."""
    log = opened(directory, key_file)
    if log.vault is None:
        raise AuditError(f"{directory}: requests are read with the master key; give --master-key, or HEADRACE_AUDIT_MASTER_KEY")
    used = {entry.exchange: entry.line.record for entry in entries(directory, _SETTLED)}
    found = False
    for entry in entries(directory, _ASKED):
        if (body := _request(log, entry)) is not None:
            found = True
            yield entry.exchange, _line(entry, body, used.get(entry.exchange, {}))
    if not found:
        raise AuditError(f"{directory}: has no request that can be read; the policy needs audit: {{bodies: encrypted}}")


def _request(log: Opened, entry: Entry) -> str | None:
    """None for one that is not kept, or whose key is erased, or that is no text: such a request is refused by every policy."""
    try:
        body = log.body(entry, "request")
        whole = body is not None and len(body) == entry.line.bodies["request"].get("bytes")
        return body.decode() if body is not None and whole else None
    except (KeyGone, UnicodeDecodeError):
        return None


def _line(entry: Entry, body: str, settlement: Mapping[str, Any]) -> Line:
    record = entry.line.record
    caller = record.get("principal", {})
    started = datetime.fromisoformat(entry.line.time)
    given = {
        "at": started.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "as": {level: caller[level] for level in _CALLER if level in caller} or None,
        "request": {"method": record.get("method", "POST"), "path": record.get("path", "/v1/chat/completions"), "raw": body},
        "usage": _usage(settlement.get("usage", {})) or None,
    }
    return Line.model_validate(given)


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """As OpenAI reports it, which is how a trace tells it."""
    if not usage:
        return {}
    return {
        "prompt_tokens": usage["input_tokens"],
        "completion_tokens": usage["output_tokens"],
        "prompt_tokens_details": {"cached_tokens": usage.get("cached_tokens", 0)},
        "completion_tokens_details": {"reasoning_tokens": usage.get("reasoning_tokens", 0)},
    }
