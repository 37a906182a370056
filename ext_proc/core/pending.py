"""Edits that verdicts asked for and the proxy has not been told of yet."""

from collections.abc import Sequence

from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.verdict import NO_EDITS, Edits, SetMember

OURS = "x-headrace-"
"""Headers of this prefix are ours; a client that sends one is not believed."""


class Pending:
    """Gathers header edits and body members; the last set of a header wins over earlier sets and removals."""

    __slots__ = ("_remove", "_reroute", "_set", "members")

    def __init__(self) -> None:
        self._set: dict[str, str] = {}
        self._remove: dict[str, None] = {}
        self._reroute = False
        self.members: list[SetMember] = []

    def strip_ours(self, headers: Headers) -> None:
        """Takes the client's `x-headrace-*` headers away; the route was chosen with them in place, so it is chosen anew."""
        names = headers.names()
        if OURS not in "".join(names):  # nearly always
            return
        spoofed = [name for name in names if name.startswith(OURS)]
        self._remove.update(dict.fromkeys(spoofed))
        self._reroute = self._reroute or bool(spoofed)

    def remove(self, *names: str) -> None:
        for name in names:
            self._remove[name] = None

    def add(self, edits: Edits) -> None:
        for name in edits.remove_headers:
            self._set.pop(name, None)
            self._remove[name] = None
        self._set.update(edits.set_headers)
        self.members.extend(edits.members)
        self._reroute = self._reroute or edits.reroute

    def take(self, remove: Sequence[str] = ()) -> Edits:
        """The header edits, once: what was taken is no longer pending. Removals come before sets."""
        self.remove(*remove)
        if not (self._set or self._remove or self._reroute):
            self.members = []
            return NO_EDITS
        edits = Edits(self._set, tuple(self._remove), reroute=self._reroute)
        self._set, self._remove, self._reroute, self.members = {}, {}, False, []
        return edits
