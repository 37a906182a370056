"""Searches a request body: every text, decoded, and the names of members."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace.ext_proc.core.errors import BodyError
from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.core.verdict import Json, Path, SetMember
from headrace.filters.pii.embedded import opened, rewritten, unescaped
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.placeholders import look_alikes
from headrace.filters.pii.spans import Span, disjoint
from headrace.filters.pii.strings import Collected, Kind, Rule, Text, collect, spelled

# Characters. Searching that much clean prose takes 0.05 ms, of dense personal data 15 ms: more would hold up every other request.
INLINE = 8 * 1024

Substitute = Callable[[Span, str], str]
"""What stands in place of a finding, given the value."""


@dataclass(slots=True)
class Found:
    """Findings in one text, apart from each other and in order. outer: the text that embeds this one as JSON."""

    text: Text
    spans: Sequence[Span]
    outer: Text | None = None

    @property
    def path(self) -> Path:
        """Where it stands in the body; what is inside a string has the string's place."""
        return self.outer.path if self.outer else self.text.path


@dataclass(slots=True)
class Scan:
    """What a body holds. in_names: entities found in names of members, which cannot be replaced, with their objects' paths."""

    found: list[Found] = field(default_factory=list)
    in_names: list[tuple[str, Path]] = field(default_factory=list)
    unread: Mapping[str, int] = field(default_factory=dict)
    look_alikes: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.found or self.in_names)

    @property
    def counts(self) -> Mapping[str, int]:
        """Entity → findings."""
        return Counter([span.entity for each in self.found for span in each.spans] + [entity for entity, _ in self.in_names])

    @property
    def paths(self) -> Sequence[str]:
        """Where findings are, each place once, in order."""
        places = [spelled(each.path) for each in self.found] + [spelled(path) or "the body" for _, path in self.in_names]
        return tuple(dict.fromkeys(places))


async def scan(document: Json, rules: Rule, detector: MemoDetector, offload: Offload) -> Scan:
    """Raises DetectionTimeout, and what `offload` raises."""
    collected = collect(document, rules)
    pieces = list(_pieces(collected))
    names = "\n".join(collected.names)
    if is_heavy([names, *(piece.text.text for piece in pieces)], detector):
        return await offload.run(_search, collected, pieces, names, detector)
    return _search(collected, pieces, names, detector)


def is_heavy(texts: Sequence[str], detector: MemoDetector) -> bool:
    """Whether searching what is not remembered of `texts` would hold up the event loop."""
    if detector.waits:
        return any(detector.recall(text) is None for text in texts if text)
    if sum(map(len, texts)) <= INLINE:
        return False
    return sum(len(text) for text in texts if detector.recall(text) is None) > INLINE


def _pieces(collected: Collected) -> Iterator[Found]:
    """Every text to search, what is embedded opened; nothing found yet."""
    for text in collected.texts:
        inner = opened(text.text) if text.kind is Kind.EMBEDDED else None
        if inner is None:
            yield Found(text, ())
            continue
        embedded = collect(inner, {"": Kind.FREE})
        collected.names.update(dict.fromkeys(embedded.names, text.path))
        yield from (Found(each, (), outer=text) for each in embedded.texts)


def _search(collected: Collected, pieces: Sequence[Found], names: str, detector: MemoDetector) -> Scan:
    found = [replace(piece, spans=spans) for piece in pieces if (spans := _spans(piece.text, detector))]
    in_names = list(_in_names(collected, names, detector))
    if not found:
        return Scan(found, in_names, collected.unread)
    scanned = [names, *(piece.text.text for piece in pieces)]
    return Scan(found, in_names, collected.unread, frozenset(token for text in scanned for token in look_alikes(text)))


def _spans(text: Text, detector: MemoDetector) -> Sequence[Span]:
    spans = detector.detect(text.text)
    if not spans and text.kind is Kind.TEXT:
        return ()
    if text.kind is Kind.LINK:
        spans = [span for span in spans if span.entity != "URL"]
    apart = disjoint(spans)
    if text.kind is Kind.EMBEDDED and "\\" in text.text:
        return _hidden(text.text, apart, detector) or apart
    return apart


def _hidden(text: str, seen: Sequence[Span], detector: MemoDetector) -> Sequence[Span]:
    """JSON that cannot be read strictly may be read leniently: where that shows other values, the whole string is a finding."""
    plain = unescaped(text)
    behind = disjoint(detector.detect(plain))
    if _values(plain, behind) == _values(text, seen):
        return ()
    named = behind[0] if behind else seen[0]
    return [Span(0, len(text), named.entity, named.score)]


def _values(text: str, spans: Sequence[Span]) -> Sequence[tuple[str, str]]:
    return [(span.entity, text[span.start : span.end]) for span in spans]


def _in_names(collected: Collected, names: str, detector: MemoDetector) -> Iterator[tuple[str, Path]]:
    if not names or not detector.detect(names):
        return
    for name, path in collected.names.items():
        yield from ((span.entity, path) for span in disjoint(detector.detect(name)))


# --- rewriting ---------------------------------------------------------------------------------------------------------------


def substituted(text: str, spans: Sequence[Span], substitute: Substitute) -> str:
    """`text` with its findings replaced; quotes that a finding has around it stay, because text that quotes is often JSON."""
    out, done = [], 0
    for span in spans:
        quotes = 1 if _is_quoted(text, span) else 0
        start, end = span.start + quotes, span.end - quotes
        out += [text[done:start], substitute(span, text[start:end])]
        done = end
    return "".join([*out, text[done:]])


def _is_quoted(text: str, span: Span) -> bool:
    first, last = text[span.start], text[span.end - 1]
    return first == last and first in "\"'" and span.end - span.start > 2


def members(found: Sequence[Found], substitute: Substitute) -> list[SetMember]:
    """The body's members with their findings replaced."""
    edits: list[SetMember] = []
    inner: dict[Path, tuple[Text, list[SetMember]]] = {}
    for each in found:
        edit = SetMember(each.text.path, substituted(each.text.text, each.spans, substitute))
        if each.outer is None:
            edits.append(edit)
        else:
            inner.setdefault(each.outer.path, (each.outer, []))[1].append(edit)
    return edits + [SetMember(outer.path, _embedded(outer, changes, substitute)) for outer, changes in inner.values()]


def scrubbed_json(text: str, detector: MemoDetector, substitute: Substitute) -> str:
    """JSON that a model wrote, with its findings replaced; where they are in names of members, all of it is replaced."""
    collected = Collected([Text((), text, Kind.EMBEDDED)])
    pieces = list(_pieces(collected))
    result = _search(collected, pieces, "\n".join(collected.names), detector)
    if result.in_names:
        return substitute(Span(0, len(text), result.in_names[0][0], 1.0), text)
    edits = members(result.found, substitute)
    return str(edits[0].value) if edits else text


def _embedded(outer: Text, changes: Sequence[SetMember], substitute: Substitute) -> str:
    try:
        return rewritten(outer.text, changes)
    except BodyError:  # half of a surrogate pair beside a finding: the string as a whole is replaced
        return substitute(Span(0, len(outer.text), "TEXT", 1.0), outer.text)
