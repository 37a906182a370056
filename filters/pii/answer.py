"""The answer's side of one exchange: restores what the request's placeholders stand for, scrubs what the model came up with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.json_body import names_twice, written
from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.core.request import Response
from headrace.ext_proc.core.session import EndStream
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Continue, Edits, Json, Reply, SetMember, Verdict
from headrace.filters.pii.actions import Blocked, Substitutes
from headrace.filters.pii.allowance import Allowance, unlimited
from headrace.filters.pii.answers import Beside, Piece, Then, Told, changes, json_lines, logprobs_of, texts, with_members
from headrace.filters.pii.channels import SHAPES
from headrace.filters.pii.restore import Restorer, TextFlow, Tokens
from headrace.filters.pii.rewriting import members
from headrace.filters.pii.scan import Searcher
from headrace.filters.pii.segments import ArgumentsTooLong, JsonScrubber, Scrubber
from headrace.filters.pii.spans import Span
from headrace.filters.pii.stream import TOO_MUCH, UNREADABLE, StreamRewriter
from headrace.filters.pii.strings import Text


class Scrubbing:
    """What happens to findings in an answer. within: what a search that leaves the event loop may take."""

    def __init__(
        self, searcher: Searcher, substitute: Substitutes, *, closed: bool = True, within: Callable[[], Allowance] = unlimited
    ) -> None:
        self.searcher = searcher
        self.substitute = substitute
        self._within = within
        self._allowance = Allowance(courteous=False)
        self.strict = searcher.treatment.changes
        """Whether a finding may be replaced, or stop the answer: then nothing goes out that was not searched."""
        self.closed = closed
        """Whether events that the API does not define end a stream."""
        self.held = 0
        """Characters of tools' arguments that are held until they can be searched."""

    @contextmanager
    def away(self) -> Iterator[None]:
        """While a thread searches: it lets others in, and stops when its time is over or nobody waits for it any longer."""
        self._allowance = self._within()
        try:
            yield
        except BaseException:
            self._allowance.end()
            raise
        self._allowance = Allowance(courteous=False)

    def flow(self, json: bool) -> TextFlow:
        flow = JsonScrubber(self._json, self._hold) if json else Scrubber(self.searcher, self.substitute, self._step)
        return flow if self.strict else Beside(flow)

    def _hold(self, characters: int) -> None:
        self.held += characters

    def _step(self) -> None:
        self._allowance.step()

    def _json(self, text: str) -> str:
        found, in_names = self.searcher.json(text, self._allowance)
        named = [Span(0, len(text), entity, 1.0) for entity, _ in in_names]
        if any(not self.searcher.treatment.leaves(span.entity) for span in named):  # where a name cannot be replaced, all of it is
            return self.substitute.whole(text, named)
        edits = members(found, self.substitute)
        return str(edits[0].value) if edits else text


class Flows:
    """Makes a flow for each text of an answer."""

    def __init__(self, values: Mapping[str, str], scrubbing: Scrubbing | None, *, structured: bool) -> None:
        self._json = Tokens(values, json=True) if values else None
        self._plain = self._json if structured or not values else Tokens(values)
        self._nothing = Tokens({})
        self._scrubbing = scrubbing

    # Restored values are not searched again: scrubbing comes first, and placeholders are no findings.
    def new(self, piece: Piece) -> TextFlow:
        tokens = self._json if piece.json else self._plain
        if piece.sealed:
            tokens = None if self._scrubbing else self._nothing
        if self._scrubbing is None:
            assert tokens is not None, "an answer is read in order to restore, to scrub, or both"
            return Restorer(tokens)
        scrub = self._scrubbing.flow(piece.json)
        return Then(scrub, Restorer(tokens)) if tokens else scrub


class Answer:
    """values: name of a placeholder → value, of this exchange's request. scrubbing: None where answers are not searched.

    structured: the request asked for JSON, so the answer's text is JSON, too. cited: it asked for what answers cite.
    """

    def __init__(
        self, values: Mapping[str, str], scrubbing: Scrubbing | None, *, structured: bool = False, cited: bool = False
    ) -> None:
        self._new_flow = Flows(values, scrubbing, structured=structured).new
        self._scrubbing = scrubbing
        self._cited = cited
        self._rewriter: StreamRewriter | None = None

    @property
    def streamed(self) -> Mapping[str, Any]:
        """What a record says of a stream: nothing where it came as none."""
        if self._rewriter is None:
            return {}
        return self._note(self._rewriter.unread)

    def _note(self, unread: Mapping[str, int]) -> dict[str, Any]:
        """What a record says of an answer that was searched."""
        if self._scrubbing is None:
            return {}
        counts = self._scrubbing.substitute.counts
        found = {"findings": dict(counts)} if counts else {}
        return found | ({"unread": dict(unread)} if unread else {})

    @property
    def _strict(self) -> bool:
        return self._scrubbing is not None and self._scrubbing.strict

    @property
    def _closed(self) -> bool:
        return self._scrubbing is not None and self._scrubbing.strict and self._scrubbing.closed

    # --- whole ---------------------------------------------------------------------------------------------------------------

    async def whole(self, response: Response, offload: Offload) -> Verdict:
        """The verdict on an answer that is no stream. Raises DetectionTimeout, and what `offload` raises."""
        is_lines = response.document is None
        document = json_lines(response.body) if is_lines else response.document
        if is_lines and not document:
            return UNREADABLE if self._strict and response.body.strip() else PASS
        try:
            found = texts(document)
            edits = await self._searched(document, found.told, offload)
        except Blocked as blocked:
            return refusal(blocked.entity)
        except ArgumentsTooLong:
            return TOO_MUCH
        note = self._note(found.unread)
        if self._strict and not is_lines and names_twice(response.body):
            return Continue(Edits(body=written(with_members(document, edits) if edits else document)), note=note)
        if not edits:
            return Continue(note=note) if note else PASS
        return Continue(_of_lines(document, edits) if is_lines else Edits(members=edits), note=note)

    async def _searched(self, document: object, found: Sequence[Told], offload: Offload) -> Sequence[SetMember]:
        """The edits, made elsewhere where they take their time."""
        if self._scrubbing and self._scrubbing.searcher.is_heavy([Text(told.path, told.text) for told in found]):
            with self._scrubbing.away():
                return await offload.run(self._edits, document, found)
        return self._edits(document, found)

    def _edits(self, document: object, found: Sequence[Told]) -> Sequence[SetMember]:
        edits = changes(document, found, self._new_flow)
        if edits and self._strict:
            edits += logprobs_of(document)
        return edits

    # --- streamed --------------------------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Characters that are held until they can be searched."""
        return self._scrubbing.held if self._scrubbing is not None else 0

    async def away(self, work: Callable[[], None], offload: Offload) -> None:
        """Has hooks of the stream run in a thread. Raises what `offload` raises."""
        assert self._scrubbing is not None, "only searches have much to do"
        with self._scrubbing.away():
            await offload.run(work)

    def on_event(self, event: SseEvent, endpoint: Endpoint) -> Sequence[SseEvent]:
        """Raises EndStream, DetectionTimeout."""
        if self._rewriter is None:
            shape, strict, closed = SHAPES[endpoint], self._strict, self._closed
            self._rewriter = StreamRewriter(shape, self._new_flow, strict=strict, closed=closed, cited=self._cited)
        try:
            return self._rewriter.on_event(event)
        except Blocked as blocked:
            raise EndStream(refusal(blocked.entity)) from None

    def on_stream_end(self) -> Sequence[SseEvent]:
        """Raises EndStream, DetectionTimeout."""
        try:
            return self._rewriter.on_stream_end() if self._rewriter else ()
        except Blocked as blocked:
            raise EndStream(refusal(blocked.entity)) from None
        except ArgumentsTooLong:
            raise EndStream(TOO_MUCH) from None


def _of_lines(documents: Json, edits: Sequence[SetMember]) -> Edits:
    return Edits(body=b"".join(written(document) + b"\n" for document in with_members(documents, edits)))


def refusal(entity: str) -> Reply:
    """An answer that is not given out."""
    return Reply(403, "pii.answer_blocked", f"The answer was stopped: it contains personal data ({entity}).")
