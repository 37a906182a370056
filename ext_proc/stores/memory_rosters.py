"""A roster in this process's memory."""

from collections.abc import Sequence
from itertools import islice

from headrace.ext_proc.core.roster import ROSTER_MAX, Listed
from headrace.ext_proc.stores.arguments import full


class Roster:
    """See `Store.enrol`. records: by id, the one that was changed last at the end."""

    def __init__(self) -> None:
        self.records: dict[str, Listed] = {}
        self._revision = 0

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
        return self._revision

    def since(self, revision: int, limit: int) -> Sequence[Listed]:
        return list(islice((record for record in self.records.values() if record.revision > revision), limit))
