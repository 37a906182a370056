"""The order in which servers are to be asked for one request."""

from collections.abc import Sequence
from enum import Enum
from typing import Final

from headrace.ext_proc.engine.load.board import Board, Need, State

FULL_CACHE: Final = 0.95
"""What an engine says it uses. Above it, engines begin to preempt: what has been computed is thrown away and computed again."""

WHOLE_CACHE: Final = 1.0
"""Of a prediction, which counts answers as long as they may become: most end earlier, and that is its margin."""

WARM_CACHE: Final = 0.8
"""Up to it, a conversation stays where its prefix is."""


class NoServer(Enum):
    NONE = "none"
    """There is none, or none has been heard of lately."""
    BUSY = "busy"
    """All that have been heard of are full."""
    SMALL = "small"
    """None of those that have been heard of would hold the request, even idle."""


def order(board: Board, servers: Sequence[str], need: Need, now_ms: int, max_queue: int) -> Sequence[str] | NoServer:
    """Best first: the one that is warm for this conversation, else by queue, by predicted cache, by what runs.

    max_queue: requests that may wait at a server; one with more is full.
    """
    heard = {server: state for server in servers if (state := board.state(server, need, now_ms)) is not None}
    if not heard:
        return NoServer.NONE
    free = {server: state for server, state in heard.items() if not _full(state, max_queue)}
    if not free:
        return NoServer.SMALL if all(state.alone > WHOLE_CACHE for state in heard.values()) else NoServer.BUSY
    warm = board.warm(need.prefix, now_ms) if need.prefix else None
    return sorted(free, key=lambda server: (not (server == warm and _stays(free[server])), *_busy(free[server])))


def _full(state: State, max_queue: int) -> bool:
    return state.queue > max_queue or state.cache > FULL_CACHE or state.predicted > WHOLE_CACHE


def _stays(state: State) -> bool:
    return state.queue == 0 and state.predicted <= WARM_CACHE


def _busy(state: State) -> tuple[int, float, int]:
    return state.queue, state.predicted, state.running
