"""Findings remembered per text: a chat resends its whole history with every turn."""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from os import urandom

from headrace.filters.pii.spans import Detector, Span

# Entries and findings together, of about 200 bytes each: some 10 megabytes a worker.
SIZE = 65_536


class MemoDetector:
    """A detector with a memory of keyed hashes: no text is kept, and hashes of one process mean nothing to another."""

    def __init__(self, detector: Detector, size: int = SIZE) -> None:
        self._detector = detector
        self._size = size
        self._left = size
        self._key = urandom(32)
        self._known: OrderedDict[bytes, Sequence[Span]] = OrderedDict()

    @property
    def waits(self) -> bool:
        """Whether a search may wait for another process: then only what is remembered may be asked for on the event loop."""
        return self._detector.waits

    def recall(self, text: str) -> Sequence[Span] | None:
        """The findings in `text` if it was searched lately, else None."""
        name = self._name(text)
        spans = self._known.get(name)
        if spans is not None:
            self._refresh(name)
        return spans

    def detect(self, text: str) -> Sequence[Span]:
        """Findings by place in the text; they may overlap. Raises DetectionTimeout."""
        name = self._name(text)
        spans = self._known.get(name)
        if spans is None:
            spans = self._detector.detect(text)
            if len(spans) < self._size // 4:
                self._keep(name, spans)
        return spans

    def segment(self, text: str) -> Sequence[Span]:
        """Findings in a text that is one segment. Raises DetectionTimeout."""
        return self._detector.segment(text)

    def _name(self, text: str) -> bytes:
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()

    def _refresh(self, name: bytes) -> None:
        with suppress(KeyError):  # another thread may have dropped it since
            self._known.move_to_end(name)

    def _keep(self, name: bytes, spans: Sequence[Span]) -> None:
        self._known[name] = spans
        self._left -= 1 + len(spans)
        with suppress(KeyError):
            while self._left < 0:
                _, dropped = self._known.popitem(last=False)
                self._left += 1 + len(dropped)
