"""The process that searches long texts: `python -m headrace.filters.pii.long_texts.worker FD`.

FD is a socket on which it takes one socket for each question (`lines`). It ends with its owner. It keeps no text, and writes
nothing of one anywhere.
"""

import contextlib
import os
import select
import signal
import socket
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from math import inf
from time import monotonic

import msgspec

from headrace.filters.pii.allowance import Allowance, SearchLate
from headrace.filters.pii.cutter import windows
from headrace.filters.pii.detector import PatternDetector
from headrace.filters.pii.long_texts.lines import PLANS, Answer, Question, decoded, encoded, unpacked
from headrace.filters.pii.models.frames import read_frame, write_frame
from headrace.filters.pii.naming import NamingDetector
from headrace.filters.pii.plan import detector_of
from headrace.filters.pii.spans import DetectionTimeout, Named, Read, Span

NICENESS = 5
"""A third of the processor's time beside one process of the usual priority, such as the owner and a gateway."""
THREADS = 16
"""Questions at once, more than its owner has threads: a short one waits for no long one, and each is read when it is asked."""
LOOK_S = 0.01
"""Seconds between two looks whether somebody still waits for the answer."""


class Gone(Exception):
    """Nobody waits for the answer."""


class Watched(Allowance):
    """An allowance that ends with whoever asked on `line`. Raises Gone in a step."""

    def __init__(self, until: float, line: socket.socket) -> None:
        super().__init__(until)
        self._line = select.poll()
        self._line.register(line, select.POLLRDHUP)
        self._next = monotonic() + LOOK_S

    def step(self) -> None:
        super().step()
        if (now := monotonic()) > self._next:
            self._next = now + LOOK_S
            if self._line.poll(0):
                raise Gone


class Known(dict[str, Sequence[Span]]):
    """What models find in segments. unknown: those that were asked for and are not among them."""

    def __init__(self) -> None:
        super().__init__()
        self.unknown: dict[str, None] = {}

    def get(self, segment: str, _: object = None) -> Sequence[Span]:
        found = super().get(segment)
        if found is None:
            self.unknown[segment] = None
            return ()
        return found


def answer(line: socket.socket) -> None:
    """Reads a question, and answers it."""
    with line, line.makefile("rwb") as stream, contextlib.suppress(OSError, Gone):
        frame = read_frame(stream)
        if frame is None:
            return
        question = msgspec.msgpack.decode(frame, type=Question)

        def ask(segments: Sequence[str]) -> Sequence[Sequence[Span]]:
            write_frame(stream, msgspec.msgpack.encode(Answer(unknown=[encoded(each) for each in segments])))
            told = read_frame(stream)
            if told is None:
                raise Gone
            return msgspec.msgpack.decode(told, type=list[list[Span]])

        allowance = Watched(inf if question.until is None else question.until, line)
        write_frame(stream, msgspec.msgpack.encode(_answered(question, allowance, ask)))


def _answered(question: Question, allowance: Allowance, ask: Read) -> Answer:
    """Raises Gone, OSError."""
    try:
        texts = [(decoded(text), decoded(about)) for text, about in question.texts]
        return Answer(_searched(_detector(question.plan), texts, allowance, ask))
    except (Gone, OSError):
        raise
    except SearchLate:
        return Answer(late=True)
    except DetectionTimeout as error:
        return Answer(unsearched=str(error))
    except Exception as error:  # noqa: BLE001  whatever a recognizer raises: the owner searches by itself then
        return Answer(problem=type(error).__name__)  # its message may quote the text


def _searched(
    detector: PatternDetector | NamingDetector, texts: Sequence[Named], allowance: Allowance, ask: Read
) -> Sequence[Sequence[Span]]:
    """Where models are asked, again until nothing is unknown: what they find may change where a text is cut."""
    if isinstance(detector, PatternDetector):
        return list(detector.detect_all(texts, allowance))
    known = Known()
    unknown = dict.fromkeys(window for text, _ in texts for window in windows(text, detector.size, allowance.step))
    while True:
        if unknown:
            known.update(zip(unknown, ask(list(unknown)), strict=True))
        found = [detector.detect_known(each, known, allowance) for each in texts]
        unknown, known.unknown = known.unknown, {}
        if not unknown:
            return found


@lru_cache(maxsize=PLANS)
def _detector(plan: bytes) -> PatternDetector | NamingDetector:
    detector = detector_of(unpacked(plan))
    detector.ready()
    return detector


def main() -> None:
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is the owner's to hear
    pool = ThreadPoolExecutor(THREADS)
    with socket.socket(fileno=int(sys.argv[1])) as owner:
        while True:
            said, lines, _, _ = socket.recv_fds(owner, 1, 1)
            if not said:
                os._exit(0)  # whatever its threads do
            for line in lines:
                pool.submit(answer, socket.socket(fileno=line))


if __name__ == "__main__":
    main()
