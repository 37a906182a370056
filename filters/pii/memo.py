"""Findings remembered per text: a chat resends its whole history with every turn."""

from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from hashlib import blake2b
from os import urandom

from headrace.filters.pii.spans import Detector, Span

# About 200 bytes an entry without findings: a few megabytes a worker.
ENTRIES = 16_384
# A text with more findings than this is not worth the memory.
MOST_SPANS = 256


class MemoDetector:
    """A detector with a memory of keyed hashes: no text is kept, and hashes of one process mean nothing to another."""

    def __init__(self, detector: Detector, entries: int = ENTRIES) -> None:
        self._detector = detector
        self._entries = entries
        self._key = urandom(32)
        self._known: OrderedDict[bytes, Sequence[Span]] = OrderedDict()

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
            if len(spans) <= MOST_SPANS:
                self._keep(name, spans)
        return spans

    def _name(self, text: str) -> bytes:
        return blake2b(text.encode("utf-8", "surrogatepass"), key=self._key, digest_size=16).digest()

    def _refresh(self, name: bytes) -> None:
        with suppress(KeyError):  # another thread may have dropped it since
            self._known.move_to_end(name)

    def _keep(self, name: bytes, spans: Sequence[Span]) -> None:
        self._known[name] = spans
        with suppress(KeyError):
            while len(self._known) > self._entries:
                self._known.popitem(last=False)
