"""A process that runs models, as its owner sees it."""

import contextlib
import selectors
import subprocess
import sys
from collections.abc import Iterable, Sequence
from time import monotonic
from typing import BinaryIO, Protocol, TypeVar, cast

import msgspec

from headrace.filters.pii.models.frames import BACKGROUND, Loaded, encodable, read_frame, write_frame
from headrace.filters.pii.models.names import Model
from headrace.filters.pii.spans import DetectionTimeout, Span


class HasFileno(Protocol):
    def fileno(self) -> int: ...


File = TypeVar("File", bound=HasFileno)


def ready(files: Iterable[File], seconds: float) -> Sequence[File]:
    """Those with something to read, at the latest after `seconds`. By poll: select knows no descriptor above 1,023."""
    with selectors.PollSelector() as selector:
        for file in files:
            selector.register(file.fileno(), selectors.EVENT_READ, file)
        return [key.data for key, _ in selector.select(max(0.0, seconds))]


class Worker:
    """One process. Used by one thread at a time. background: it gives way to others where processors are short."""

    def __init__(self, models: Sequence[Model], *, background: bool = False) -> None:
        self.background = background
        command = (sys.executable, "-P", "-m", "headrace.filters.pii.models.worker", *([BACKGROUND] if background else []))
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._asks, self._answers = cast(BinaryIO, self._process.stdin), cast(BinaryIO, self._process.stdout)
        self._send(msgspec.msgpack.encode(models))

    def loaded(self, deadline: float) -> Loaded:
        """Raises DetectionTimeout."""
        return msgspec.msgpack.decode(self._receive(deadline), type=Loaded)

    def ask(self, texts: Sequence[str]) -> None:
        self._send(msgspec.msgpack.encode([encodable(text) for text in texts]))

    def answer(self, deadline: float) -> Sequence[tuple[Span, ...]]:
        """Raises DetectionTimeout."""
        found = msgspec.msgpack.decode(self._receive(deadline), type=list[list[tuple[int, int, str, float]]])
        return [tuple(Span(*each) for each in spans) for spans in found]

    @property
    def pid(self) -> int:
        return self._process.pid

    def fileno(self) -> int:
        return self._answers.fileno()

    def end(self) -> None:
        """Kills it: it has nothing to finish."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._asks, self._answers):
            with contextlib.suppress(OSError):
                pipe.close()

    def _send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a worker that died is found out when it does not answer
            write_frame(self._asks, data)

    def _receive(self, deadline: float) -> bytes:
        answers = ready([self._answers], deadline - monotonic())
        frame = read_frame(self._answers) if answers else None
        if frame is None:
            raise DetectionTimeout("a model's process did not answer in time" if not answers else "a model's process died")
        return frame
