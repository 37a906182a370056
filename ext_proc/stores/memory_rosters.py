"""A roster in this process's memory."""

from collections.abc import Sequence
from itertools import islice

from headrace.ext_proc.core.roster import MARKS_MAX, ROSTER_MAX, Changes, Listed, Seen
from headrace.ext_proc.stores.arguments import full, new_mark


class Roster:
    """See `Store.enrol`. records: by id, the one that was changed last at the end."""

    def __init__(self) -> None:
        self.records: dict[str, Listed] = {}
        self._revision = 0
        self._marks: dict[int, str] = {}

    def enrol(self, id: str, value: bytes, revision: int) -> int:
        """Raises RosterFull."""
        stands = self.records.get(id, Listed(id, b"", 0))
        if stands.revision and stands.value == value:
            return stands.revision
        if stands.revision != revision:
            return 0
        if not revision and len(self.records) >= ROSTER_MAX:
            raise full()
        self._revision += 1
        self.records.pop(id, None)
        self.records[id] = Listed(id, value, self._revision)
        self._marks[self._revision] = new_mark()
        self._marks.pop(self._revision - MARKS_MAX, None)
        return self._revision

    def since(self, revision: int, limit: int) -> Sequence[Listed]:
        return list(islice((record for record in self.records.values() if record.revision > revision), limit))

    def changes(self, seen: Seen, limit: int) -> Changes:
        lost = self._has_lost(seen)
        start = 0 if lost else seen.revision
        records = self.since(start, limit)
        last = records[-1].revision if records else start
        mark = self._marks.get(self._revision)
        return Changes(records, Seen(last, f"{self._revision}:{mark}" if mark else ""), lost)

    def _has_lost(self, seen: Seen) -> bool:
        newest, _, mark = seen.mark.rpartition(":")
        return seen.revision > self._revision or mark != self._marks.get(int(newest or seen.revision), "")
