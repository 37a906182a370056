"""Searches a request body: every text, decoded, and the names of members."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.core.verdict import Json, Path
from headrace.filters.pii.allowance import Allowance, unlimited
from headrace.filters.pii.embedded import opened, unescaped
from headrace.filters.pii.encoded import opened as decoded
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.placeholders import look_alikes
from headrace.filters.pii.rewriting import Encoding, Found, JsonString
from headrace.filters.pii.spans import Named, Span
from headrace.filters.pii.strings import Collected, Kind, Rule, Text, collect, spelled
from headrace.filters.pii.treatment import Treatment

# What is searched on the event loop, where it holds up every other request: characters of new text, of which clean prose takes
# 0.05 ms, and places in it that look as a finding may, which take up to 0.1 ms each.
INLINE = 8 * 1024
INLINE_PLACES = 64
INLINE_FINDINGS = 100
"""Findings that are replaced on the event loop, at some 6 µs each."""
SHORT = 200
"""Characters that have no more places than that, nearly: counting them would cost as much as the search of clean ones."""
LARGE = 256 * 1024
"""Bytes of a body whose texts are gathered off the event loop, too: of values of some bytes each, that takes up to 1 µs a byte."""

Piece = tuple[Text, Encoding | None]
"""A text to search, and what it stands encoded in."""


@dataclass(slots=True)
class Scan:
    """What a body holds. in_names: entities found in names of members, which cannot be replaced, with their objects' paths.

    undeclared: the paths of texts that no rule names. unread: what was not looked at, and how often. unnamed: characters that
    models had no time for.
    """

    found: Sequence[Found] = ()
    in_names: Sequence[tuple[str, Path]] = ()
    undeclared: Sequence[Path] = ()
    unread: Mapping[str, int] = field(default_factory=dict)
    look_alikes: frozenset[str] = frozenset()
    unnamed: int = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say of the body."""
        return not (self.found or self.in_names or self.undeclared or self.unread or self.unnamed)

    @property
    def has_many(self) -> bool:
        """Whether there are more findings than can be dealt with on the event loop."""
        return sum(len(each.spans) for each in self.found) > INLINE_FINDINGS

    @property
    def counts(self) -> Mapping[str, int]:
        """Entity → findings."""
        return Counter([span.entity for each in self.found for span in each.spans] + [entity for entity, _ in self.in_names])

    def paths(self, entities: frozenset[str]) -> Sequence[str]:
        """Where findings of these entities are, each place once, in order."""
        found = [spelled(each.path) for each in self.found if any(span.entity in entities for span in each.spans)]
        names = [spelled(path) or "the body" for entity, path in self.in_names if entity in entities]
        return tuple(dict.fromkeys(found + names))


@dataclass(frozen=True, slots=True)
class Searcher:
    """A detector, and which of its findings count as what."""

    detector: MemoDetector
    treatment: Treatment

    async def scan(
        self, document: Json, rules: Rule, offload: Offload, allowance: Allowance | None = None, *, size: int = 0
    ) -> Scan:
        """allowance: absent, there is no limit. size: bytes of the body. Raises DetectionTimeout, and what `offload` raises.

        A search whose caller is cancelled, because its time is over or its client hung up, ends at its next segment.
        """
        allowed = allowance or unlimited()
        if size > LARGE:
            return await _run(offload, allowed, lambda: self._search(*_gathered(document, rules), allowed))
        collected, pieces, names = _gathered(document, rules)
        if self.is_heavy([Text((), names), *[text for text, _ in pieces]]):
            return await _run(offload, allowed, lambda: self._search(collected, pieces, names, allowed))
        return self._search(collected, pieces, names, Allowance(courteous=False))

    def is_heavy(self, texts: Sequence[Text]) -> bool:
        """Whether searching what is not remembered of `texts` would hold up the event loop."""
        if not self.detector.waits and sum([len(each.text) for each in texts]) <= SHORT:
            return False
        new = [each.text for each in texts if self.detector.recall(each.text, each.about) is None]
        if self.detector.waits:
            return any(new)
        size = sum(map(len, new))
        return size > INLINE or (size > SHORT and self._is_dense(new))

    def _is_dense(self, texts: Sequence[str]) -> bool:
        left = INLINE_PLACES
        for text in texts:
            found = self.detector.places(text, left)
            if found is None:
                return True
            left -= found
        return False

    def json(self, text: str, allowance: Allowance) -> tuple[Sequence[Found], Sequence[tuple[str, Path]]]:
        """Findings in JSON that a model wrote, and entities in names of its members. Raises DetectionTimeout."""
        collected = Collected([Text((), text, Kind.EMBEDDED)])
        pieces = list(_pieces(collected))
        result = self._search(collected, pieces, "\n".join(collected.names), allowance)
        return result.found, result.in_names

    def _search(self, collected: Collected, pieces: Sequence[Piece], names: str, allowance: Allowance) -> Scan:
        texts = [(text.text, text.about) for text, _ in pieces]
        known = self._known([(names, ""), *texts] if names else texts, allowance)
        found = list(self._found(pieces, known, allowance))
        in_names = list(self._in_names(collected, known.get((names, "")), allowance)) if names else []
        scan = Scan(found, in_names, collected.undeclared, collected.unread, unnamed=allowance.unnamed)
        if found:
            scan.look_alikes = frozenset(token for text in (names, *(text for text, _ in texts)) for token in look_alikes(text))
        return scan

    def _known(self, texts: Sequence[Named], allowance: Allowance) -> Mapping[Named, Sequence[Span]]:
        """What is found in all of them, searched together. On the event loop nothing: each is searched when its turn comes."""
        return self.detector.detect_all(texts, allowance) if self.detector.waits or allowance.courteous else {}

    def _found(self, pieces: Sequence[Piece], known: Mapping[Named, Sequence[Span]], allowance: Allowance) -> Iterator[Found]:
        for text, outer in pieces:
            allowance.step()
            spans = known.get((text.text, text.about))
            if spans is None:
                spans = self.detector.detect(text.text, allowance, text.about)
            if spans := self._counted(text, spans, allowance):
                yield Found(text, spans, outer)

    def _counted(self, text: Text, spans: Sequence[Span], allowance: Allowance) -> Sequence[Span]:
        """What counts as a finding."""
        if not spans and text.kind is not Kind.EMBEDDED:
            return ()
        if text.kind is Kind.LINK:
            spans = [span for span in spans if span.entity != "URL"]
        apart = self.treatment.apart(spans)
        if text.kind is Kind.EMBEDDED and "\\" in text.text:
            return self._hidden(text.text, apart, allowance) or apart
        return apart

    def _hidden(self, text: str, seen: Sequence[Span], allowance: Allowance) -> Sequence[Span]:
        """JSON that cannot be read strictly may be read leniently: where that shows other values, the whole string is a finding."""
        plain = unescaped(text)
        found = self._known([(plain, "")], allowance).get((plain, ""))
        behind = self.treatment.apart(self.detector.detect(plain, allowance) if found is None else found)
        if _values(plain, behind) == _values(text, seen):
            return ()
        named = self.treatment.strictest([*behind, *seen])
        return [Span(0, len(text), named.entity, named.score)]

    def _in_names(self, collected: Collected, found: Sequence[Span] | None, allowance: Allowance) -> Iterator[tuple[str, Path]]:
        """found: in all names together, if that is known."""
        if not (self.detector.detect("\n".join(collected.names), allowance) if found is None else found):
            return
        for name, path in collected.names.items():
            allowance.step()
            yield from ((span.entity, path) for span in self.treatment.apart(self.detector.detect(name, allowance)))


async def _run(offload: Offload, allowance: Allowance, search: Callable[[], Scan]) -> Scan:
    try:
        return await offload.run(search)
    finally:
        allowance.end()


def _gathered(document: Json, rules: Rule) -> tuple[Collected, Sequence[Piece], str]:
    """What is to be searched, and the names of members, a line each."""
    collected = collect(document, rules)
    pieces = list(_pieces(collected))
    return collected, pieces, "\n".join(collected.names)


def _values(text: str, spans: Sequence[Span]) -> Sequence[tuple[str, str]]:
    return [(span.entity, text[span.start : span.end]) for span in spans]


def _pieces(collected: Collected) -> Iterator[Piece]:
    """Every text to search, what is embedded or encoded opened."""
    for text in collected.texts:
        if text.kind is Kind.EMBEDDED and (inner := opened(text.text)) is not None:
            embedded = collect(inner, {"": Kind.FREE})
            collected.names.update(dict.fromkeys(embedded.names, text.path))
            outer = JsonString(text)
            yield from ((each, outer) for each in embedded.texts)
        elif text.kind is not Kind.MEDIA:
            yield text, None
        elif (encoded := decoded(text.text)) is not None:
            yield Text(text.path, encoded.text), encoded
        else:  # begins as text does, and is something else
            collected.count_unread(text.path)
