"""Findings remembered per text: a chat resends its whole history with every turn."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from os import urandom

from headrace.filters.pii.allowance import Allowance, unlimited
from headrace.filters.pii.beginnings import Beginnings
from headrace.filters.pii.cutter import Size
from headrace.filters.pii.spans import Detector, Named, Span

# Entries and findings together, of about 200 bytes each: some 10 megabytes a worker.
SIZE = 65_536


class Memory:
    """Findings by the keyed hash of their text: no text is kept, and hashes of one service mean nothing to another."""

    def __init__(self, size: int = SIZE) -> None:
        self._size = size
        self._left = size
        self._key = urandom(32)
        self._known: OrderedDict[bytes, Sequence[Span]] = OrderedDict()

    def name(self, text: str, about: str = "") -> bytes:
        """What `text` is remembered under, where these names hold it."""
        data = text.encode("utf-8", "surrogatepass")
        if not about:
            return blake2b(data, key=self._key, digest_size=16).digest()
        names = about.encode("utf-8", "surrogatepass")
        return blake2b(b"%d:%b%b" % (len(names), names, data), key=self._key, digest_size=16, person=b"named").digest()

    def get(self, name: bytes) -> Sequence[Span] | None:
        spans = self._known.get(name)
        if spans is not None:
            with suppress(KeyError):  # another thread may have dropped it since
                self._known.move_to_end(name)
        return spans

    def keep(self, name: bytes, spans: Sequence[Span]) -> None:
        """Drops what was not asked for the longest. A text with very many findings is not kept."""
        if len(spans) >= self._size // 4:
            return
        self._known[name] = spans
        self._left -= 1 + len(spans)
        with suppress(KeyError):
            while self._left < 0:
                _, dropped = self._known.popitem(last=False)
                self._left += 1 + len(dropped)


class MemoDetector:
    """A detector with a memory."""

    def __init__(self, detector: Detector, size: int = SIZE) -> None:
        self._detector = detector
        self._memory = Memory(size)

    def ready(self) -> None:
        """As Detector."""
        self._detector.ready()

    @property
    def waits(self) -> bool:
        """Whether a search may wait for another process: then only what is remembered may be asked for on the event loop."""
        return self._detector.waits

    @property
    def size(self) -> Size:
        """How long segments are."""
        return self._detector.size

    @property
    def beginnings(self) -> Beginnings | None:
        """As Detector."""
        return self._detector.beginnings

    def recall(self, text: str, about: str = "") -> Sequence[Span] | None:
        """The findings in `text` if it was searched lately, else None. about: as Detector."""
        return self._memory.get(self._memory.name(text, about))

    def places(self, text: str, most: int) -> int | None:
        """As Detector."""
        return self._detector.places(text, most)

    def detect_all(self, texts: Sequence[Named], allowance: Allowance) -> Mapping[Named, Sequence[Span]]:
        """The findings in each text; what is new in all of them is searched together. Raises DetectionTimeout."""
        known: dict[Named, Sequence[Span]] = {}
        new: dict[Named, bytes] = {}
        for each in texts:
            allowance.step()
            name = self._memory.name(*each)
            spans = self._memory.get(name)
            if spans is None:
                new[each] = name
            else:
                known[each] = spans
        before = allowance.unnamed
        for (each, name), spans in zip(new.items(), self._detector.detect_all(list(new), allowance), strict=True):
            known[each] = spans
            if allowance.unnamed == before:
                self._memory.keep(name, spans)
        return known

    def detect(self, text: str, allowance: Allowance | None = None, about: str = "") -> Sequence[Span]:
        """Findings by place in the text; they may overlap. about: as Detector. Raises DetectionTimeout."""
        name = self._memory.name(text, about)
        spans = self._memory.get(name)
        if spans is None:
            allowed = allowance or unlimited()
            before = allowed.unnamed
            spans = self._detector.detect(text, allowed, about)
            if allowed.unnamed == before:
                self._memory.keep(name, spans)
        return spans

    def segment(self, text: str) -> Sequence[Span]:
        """Findings in a text that is one segment. Raises DetectionTimeout."""
        return self._detector.segment(text)
