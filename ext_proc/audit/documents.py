"""A record as others read it: one JSON document, bodies opened where that is asked for and can be."""

from collections.abc import Iterator
from typing import Any

from headrace.ext_proc.audit.errors import KeyGone
from headrace.ext_proc.audit.opening import Opened
from headrace.ext_proc.audit.reading import Entry

PARTS = ("request", "answer")


def document(entry: Entry, log: Opened, *, bodies: bool = False) -> dict[str, Any]:
    """bodies: as text, under `request` and `answer`; where they cannot be opened, why. Raises AuditError as the master key does."""
    line = entry.line
    place = {"chain": entry.chain, "segment": entry.segment, "seq": line.seq}
    said = {**place, "time": line.time, "kind": line.kind, "record": line.record}
    if not bodies:
        return {**said, "bodies": line.bodies} if line.bodies else said
    return {**said, **dict(_texts(entry, log))}


def _texts(entry: Entry, log: Opened) -> Iterator[tuple[str, Any]]:
    for part in PARTS:
        try:
            body = log.body(entry, part)
        except KeyGone as error:
            yield part, {"unreadable": str(error)}
            continue
        if body is not None:
            yield part, body.decode("utf-8", "backslashreplace")
        elif part in entry.line.bodies:
            yield part, entry.line.bodies[part]
