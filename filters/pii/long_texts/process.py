"""The process that searches long texts, as its owner sees it: begun when it is first wanted, and again when it has ended."""

import contextlib
import logging
import select
import socket
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict
from time import monotonic

import msgspec

from headrace.filters.pii.allowance import Allowance, SearchLate
from headrace.filters.pii.long_texts.lines import PLANS, Answer, Question, decoded
from headrace.filters.pii.models.frames import Stream, read_frame, write_frame
from headrace.filters.pii.spans import Read

PROGRAM = "headrace.filters.pii.long_texts.worker"
AGAIN_S = 10.0
"""Seconds from one beginning to the next, at least: one that cannot live must not take the time of those that search meanwhile."""
LOOK_S = 0.02
"""Seconds between two looks whether the time is over, or the caller gone."""
WRITE_S = 1.0
"""Seconds without a byte taken, in which a question is written."""
READY_S = 60.0
"""Seconds in which a process makes a plan ready, on a machine that does other things as well."""
HANGS_S = 2.0
"""Seconds in which a process closes a line that its owner has left. One that does not hangs."""

log = logging.getLogger(__name__)


class NotThere(Exception):
    """No process can be asked now."""


class Begun:
    """One process, and the plans it has, or is making ready. Used by one thread at a time. Raises OSError when it cannot begin."""

    def __init__(self) -> None:
        self._plans: OrderedDict[bytes, socket.socket | None] = OrderedDict()
        """Each with the line on which its being ready is told; None once that has been."""
        self._left: list[tuple[socket.socket, float]] = []
        """Lines whose end the process has not seen yet, and since when."""
        self._asked = monotonic()
        """When it was told of a plan last."""
        self._calls, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = (sys.executable, "-P", "-m", PROGRAM, str(theirs.fileno()))
        try:
            with theirs:
                self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        except BaseException:
            self._calls.close()
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def line(self) -> socket.socket:
        """For one question. Raises OSError."""
        ours, theirs = socket.socketpair()
        ours.settimeout(WRITE_S)
        try:
            with theirs:
                socket.send_fds(self._calls, [b"."], [theirs.fileno()], socket.MSG_DONTWAIT)
        except BaseException:
            ours.close()
            raise
        return ours

    def leave(self, line: socket.socket) -> None:
        """Nobody waits for the answer on `line`."""
        with contextlib.suppress(OSError):  # the process has left before
            line.shutdown(socket.SHUT_WR)
        self._left.append((line, monotonic()))

    @property
    def hangs(self) -> bool:
        """Whether it does not see what has been left, or makes no plan ready."""
        waiting = [line for line in self._plans.values() if line is not None and not _is_readable(line, 0)]
        if waiting and monotonic() - self._asked > READY_S:
            return True
        for each in [each for each in self._left if _is_readable(each[0], 0)]:
            each[0].close()
            self._left.remove(each)
        return any(monotonic() - since > HANGS_S for _, since in self._left)

    def is_ready(self, plan: bytes) -> bool:
        """Whether it has the plan; else it is told to make it ready. Raises OSError."""
        if plan not in self._plans:
            self._plans[plan], self._asked = self._told(plan), monotonic()
            if len(self._plans) > PLANS:
                _close(self._plans.popitem(last=False)[1])
        self._plans.move_to_end(plan)
        telling = self._plans[plan]
        if telling is not None and _is_readable(telling, 0):
            telling.close()
            telling = self._plans[plan] = None
        return telling is None

    def _told(self, plan: bytes) -> socket.socket:
        """The line on which the process will say that it has the plan. Raises OSError."""
        line = self.line()
        try:
            with line.makefile("wb") as stream:
                write_frame(stream, msgspec.msgpack.encode(Question(plan)))
        except BaseException:
            line.close()
            raise
        return line

    def end(self) -> None:
        """Kills it: whoever waits for it searches by himself."""
        self._process.kill()
        self._process.wait()
        self._calls.close()
        for line in (*self._plans.values(), *(line for line, _ in self._left)):
            _close(line)
        self._plans.clear()
        self._left.clear()


class SearchProcess:
    """The process, whichever it is. Used by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: list[Begun] = []
        self._next = 0.0
        weakref.finalize(self, _end_all, self._begun)

    @property
    def pid(self) -> int | None:
        return self._begun[0].pid if self._begun else None

    def ask(self, question: Question, allowance: Allowance, read: Read | None = None) -> Answer:
        """Raises NotThere: also until the plan is ready. Raises SearchLate when time is over or the search has been ended.

        read: as in LongTexts; what it raises is raised.
        """
        begun, line = self._line(question.plan)
        try:
            with line.makefile("rwb") as stream:
                answer = _asked(line, stream, question, allowance, read)
        except (NotThere, TimeoutError):
            self._leave(begun, line)
            raise NotThere from None
        except OSError:
            line.close()
            raise NotThere from None
        except BaseException:
            self._leave(begun, line)
            raise
        line.close()
        return answer

    def _leave(self, begun: Begun, line: socket.socket) -> None:
        with self._lock:
            if begun in self._begun:
                begun.leave(line)
            else:
                line.close()

    def end(self) -> None:
        """Ends the process; whoever asks begins another."""
        with self._lock:
            _end_all(self._begun)

    def _line(self, plan: bytes) -> tuple[Begun, socket.socket]:
        """A line for one question, and the process that it leads to. Raises NotThere."""
        with self._lock:
            for begun in self._begun[:]:
                if begun.has_ended or begun.hangs:
                    log.warning(
                        "the process that searches long texts %s", "has ended" if begun.has_ended else "hangs, and is ended"
                    )
                    _end_all(self._begun)
            try:
                begun = self._begun[0] if self._begun else self._begin()
                if begun.is_ready(plan):
                    return begun, begun.line()
            except OSError as error:
                log.warning("long texts are searched where others wait", extra={"why": str(error)})
            raise NotThere

    def _begin(self) -> Begun:
        """Raises NotThere, OSError."""
        now = monotonic()
        if now < self._next:
            raise NotThere
        self._next = now + AGAIN_S
        self._begun.append(Begun())
        return self._begun[0]


def _asked(line: socket.socket, stream: Stream, question: Question, allowance: Allowance, read: Read | None) -> Answer:
    """Raises NotThere where the line ends, SearchLate, OSError, and what `read` raises."""
    write_frame(stream, msgspec.msgpack.encode(question))
    while True:
        _wait(line, allowance)
        frame = read_frame(stream)
        allowance.waited()
        if frame is None:
            raise NotThere
        answer = msgspec.msgpack.decode(frame, type=Answer)
        if not answer.unknown or read is None:
            return answer
        write_frame(stream, msgspec.msgpack.encode(read([decoded(segment) for segment in answer.unknown])))


def _wait(line: socket.socket, allowance: Allowance) -> None:
    """Until there is an answer, or the end of the line. Raises SearchLate."""
    while not _is_readable(line, LOOK_S):
        if monotonic() > allowance.until:
            raise SearchLate


def _is_readable(line: socket.socket, seconds: float) -> bool:
    """By poll: select knows no descriptor above 1,023."""
    poll = select.poll()
    poll.register(line, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _close(line: socket.socket | None) -> None:
    if line is not None:
        line.close()


def _end_all(begun: list[Begun]) -> None:
    while begun:
        begun.pop().end()
