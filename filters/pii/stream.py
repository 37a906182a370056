"""An answer's stream rewritten event by event: each channel through a flow of its own, every other string whole."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from headrace.ext_proc.core.session import EndStream
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import Path, Reply, SetMember
from headrace.filters.pii.answers import Document, NewFlow, changes, logprobs_of, texts, with_members
from headrace.filters.pii.channels import Key, Reading, Shape, Slot
from headrace.filters.pii.moves import is_known, of_annotation
from headrace.filters.pii.restore import TextFlow
from headrace.filters.pii.segments import ArgumentsTooLong

_SIGNS = (b"<", b"&", b"\\")
"""Without one of them no placeholder begins, however it is escaped."""

MAX_CHANNELS = 1024
"""Of one answer: 128 choices with a few tool calls each. More is an attack on our memory."""

TOO_MUCH = Reply(502, "pii.answer_too_large", "The answer has more parts, or longer tool arguments, than the gateway can search.")
UNKNOWN_EVENT = Reply(
    502, "pii.unknown_event", "The answer has an event that the gateway does not know, so that its text cannot be searched."
)
UNREADABLE = Reply(
    502, "pii.unreadable_answer", "The answer cannot be searched for personal data, because it is no JSON, or is nested too deep."
)


class Channel:
    """One text of the answer, the last event that had a piece of it, and whether it may hold something back.

    behind: events that point into what is held back.
    """

    __slots__ = ("behind", "document", "flow", "name", "slot")

    def __init__(self, flow: TextFlow) -> None:
        self.flow = flow
        self.behind: list[SseEvent] = []
        self.document: Document = {}
        self.slot: Slot
        self.name: str | None = None


class StreamRewriter:
    """strict: everything is searched, so what cannot be read ends the stream, and log probabilities are taken out.

    Otherwise only placeholders are restored, and an event without a sign of one passes unread. closed: an event with text that the
    dialect does not define ends the stream, because its text may go on in the next one. cited: annotations may point into the
    texts; then every event is read, to know where they point once values are restored.
    """

    def __init__(self, shape: Shape, new_flow: NewFlow, *, strict: bool, closed: bool = False, cited: bool = False) -> None:
        self._shape = shape
        self._new_flow = new_flow
        self._strict = strict
        self._closed = closed
        self._reads_all = strict or cited
        self._held = 0
        """Events that wait for texts, altogether."""
        self._channels: dict[Key, Channel] = {}
        self.unread: Counter[str] = Counter()
        """What was not looked at, by the last names of its place."""
        self._quiet = True
        """No channel holds anything back."""

    def on_event(self, event: SseEvent) -> Sequence[SseEvent]:
        """Raises EndStream."""
        if self._passes_unread(event):
            return (event,)
        try:
            document = event.json
            if isinstance(document, dict):
                return self._rewritten(event, document)
            return [*self._other(event), event]
        except ArgumentsTooLong:
            raise EndStream(TOO_MUCH) from None

    def on_stream_end(self) -> Sequence[SseEvent]:
        """Raises EndStream."""
        return list(self._flush(()))

    def _passes_unread(self, event: SseEvent) -> bool:
        return not self._reads_all and self._quiet and not any(sign in event.raw for sign in _SIGNS)

    def _other(self, event: SseEvent) -> Sequence[SseEvent]:
        """What comes before an event that is no JSON object: the end mark, a comment, or something that nobody can read."""
        if event.is_done:
            return list(self._flush(()))
        if self._strict and (event.data or "").strip():
            raise EndStream(UNREADABLE)
        return ()

    def _rewritten(self, event: SseEvent, document: Document) -> Sequence[SseEvent]:
        found = texts(document)
        if self._closed and not self._shape.defines(document) and found.told:
            raise EndStream(UNKNOWN_EVENT)
        reading = self._shape.read(document)
        fed = {slot.path: self._fed(event, document, slot) for slot in reading.slots}
        annotated = dict(self._channels) if self._reads_all and any(self._shape.annotations(document)) else {}
        before = list(self._ended(reading, fed))
        edits = [SetMember(slot.path, fed[slot.path]) for slot in reading.slots if fed[slot.path] != slot.text]
        edits += changes(document, found.told, self._new_flow, skip=fed)
        if found.unread:
            self.unread += found.unread
        if self._strict:
            edits += logprobs_of(document)
        self._quiet = not any(channel.flow.pending for channel in self._channels.values())
        # What is searched is written anew in any case: a key that stands twice, or a line of no event, was not searched.
        written = event.with_json(with_members(document, edits)) if edits or self._strict else event
        waits = annotated and not reading.slots and not reading.ends and self._waits(document, written)
        return before if waits else [*before, self._pointed(annotated, written) if annotated else written]

    def _ended(self, reading: Reading, fed: dict[Path, str]) -> Iterator[SseEvent]:
        """What comes before an event that ends channels. Those it has a piece of end in it: `fed` gets the rest of their text."""
        for slot in reading.slots:
            if any(_begins(slot.key, end) for end in reading.ends):
                ended = self._channels.pop(slot.key)
                fed[slot.path] += ended.flow.flush()
                yield from self._released(slot.key, ended)
        for end in reading.ends:
            yield from self._flush(end)

    def _fed(self, event: SseEvent, document: Document, slot: Slot) -> str:
        channel = self._channels.get(slot.key)
        if channel is None:
            if len(self._channels) >= MAX_CHANNELS:
                raise EndStream(TOO_MUCH)
            channel = self._channels[slot.key] = Channel(self._new_flow(slot))
        channel.document, channel.slot, channel.name = document, slot, event.name
        return channel.flow.feed(slot.text)

    def _waits(self, document: Document, written: SseEvent) -> bool:
        """Whether an annotation of the event points where a text has not come out: then it comes behind that. Raises EndStream."""
        for key, _, annotation in self._shape.annotations(document):
            channel = self._channels.get(key)
            if channel is not None and not is_known(annotation, channel.flow.moved):
                self._held += 1
                if self._held > MAX_CHANNELS:
                    raise EndStream(TOO_MUCH)
                channel.behind.append(written)
                return True
        return False

    def _released(self, key: Key, ended: Channel) -> Iterator[SseEvent]:
        """What waited for a text that has ended."""
        self._held -= len(ended.behind)
        return (self._pointed({key: ended}, event) for event in ended.behind)

    def _pointed(self, channels: Mapping[Key, Channel], event: SseEvent) -> SseEvent:
        """The event with its annotations where they point now."""
        document = event.json
        if not isinstance(document, dict):
            return event
        edits: list[SetMember] = []
        for key, path, annotation in self._shape.annotations(document):
            if (channel := channels.get(key)) is not None:
                edits += of_annotation(annotation, path, channel.flow.moved)
        return event.with_json(with_members(document, edits)) if edits else event

    def _flush(self, end: Key) -> Iterator[SseEvent]:
        """Ends the channels whose keys begin with `end`: what they held back, as one more delta each."""
        for key in [key for key in self._channels if _begins(key, end)]:
            channel = self._channels.pop(key)
            if held := channel.flow.flush():
                yield SseEvent.of("", channel.name).with_json(self._shape.delta(channel.document, channel.slot, held))
            yield from self._released(key, channel)


def _begins(key: Key, end: Key) -> bool:
    return key[: len(end)] == end
