"""A board that sees what another one knows, and changes nothing of it: for a policy that is only tried."""

from collections.abc import Iterable, Sequence

from headrace.ext_proc.engine.load.board import Board, Need, State
from headrace.ext_proc.engine.load.metrics import Snapshot


class Watching(Board):
    def __init__(self, board: Board) -> None:
        super().__init__(board.interval_ms)
        self._board, self.lengths = board, board.lengths

    def follow(self, servers: Iterable[str]) -> None: ...

    def read(self, server: str, snapshot: Snapshot, asked_ms: int) -> None: ...

    def place(self, server: str, need: Need, now_ms: int) -> None: ...

    def answered(self, server: str, prefix: str, now_ms: int) -> None: ...

    def state(self, server: str, need: Need, now_ms: int) -> State | None:
        return self._board.state(server, need, now_ms)

    def capacity(self, server: str) -> int:
        return self._board.capacity(server)

    def knows(self, server: str) -> bool:
        return self._board.knows(server)

    def warm(self, prefix: str, now_ms: int) -> str | None:
        return self._board.warm(prefix, now_ms)

    @property
    def servers(self) -> Sequence[str]:
        return self._board.servers
