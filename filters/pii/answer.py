"""The answer's side of one exchange: restores what the request's placeholders stand for, scrubs what the model came up with."""

from collections.abc import Mapping, Sequence

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.core.ports import Offload
from headrace.ext_proc.core.request import Response
from headrace.ext_proc.core.session import EndStream
from headrace.ext_proc.core.sse import SseEvent
from headrace.ext_proc.core.verdict import PASS, Continue, Edits, Reply, SetMember, Verdict
from headrace.filters.pii.actions import Blocked, Counting
from headrace.filters.pii.answers import Beside, Then, changes, logprobs_of, texts
from headrace.filters.pii.channels import SHAPES
from headrace.filters.pii.memo import MemoDetector
from headrace.filters.pii.restore import Restorer, TextFlow, Tokens
from headrace.filters.pii.scan import is_heavy, scrubbed_json
from headrace.filters.pii.segments import ArgumentsTooLong, JsonScrubber, Scrubber
from headrace.filters.pii.settings import Action
from headrace.filters.pii.stream import TOO_MUCH, UNREADABLE, StreamRewriter


class Scrubbing:
    """What happens to findings in an answer."""

    def __init__(self, action: Action, detector: MemoDetector, substitute: Counting) -> None:
        self.action = action
        self.detector = detector
        self.substitute = substitute

    def flow(self, json: bool) -> TextFlow:
        flow = JsonScrubber(self._json) if json else Scrubber(self.detector, self.substitute)
        return Beside(flow) if self.action == "report" else flow

    def _json(self, text: str) -> str:
        return scrubbed_json(text, self.detector, self.substitute)


class Answer:
    """values: placeholder → value, of this exchange's request. scrubbing: None where answers are not searched.

    structured: the request asked for JSON, so the answer's text is JSON, too.
    """

    def __init__(self, values: Mapping[str, str], scrubbing: Scrubbing | None, *, structured: bool = False) -> None:
        self._json = Tokens(values, json=True) if values else None
        self._plain = self._json if structured or not values else Tokens(values)
        self._scrubbing = scrubbing
        self._rewriter: StreamRewriter | None = None

    @property
    def counts(self) -> Mapping[str, int]:
        """Entity → findings in the answer so far."""
        return self._scrubbing.substitute.counts if self._scrubbing else {}

    @property
    def streamed(self) -> bool:
        """Whether it came as a stream."""
        return self._rewriter is not None

    @property
    def _strict(self) -> bool:
        return self._scrubbing is not None and self._scrubbing.action != "report"

    # Restored values are not searched again: scrubbing comes first, and placeholders are no findings.
    def _flow(self, json: bool) -> TextFlow:
        tokens = self._json if json else self._plain
        if self._scrubbing is None:
            assert tokens is not None, "an answer is read in order to restore, to scrub, or both"
            return Restorer(tokens)
        scrub = self._scrubbing.flow(json)
        return Then(scrub, Restorer(tokens)) if tokens else scrub

    # --- whole ---------------------------------------------------------------------------------------------------------------

    async def whole(self, response: Response, offload: Offload) -> Verdict:
        """The verdict on an answer that is no stream. Raises DetectionTimeout, and what `offload` raises."""
        document = response.document
        if document is None:
            return UNREADABLE if self._strict and response.body.strip() else PASS
        try:
            if self._scrubbing and is_heavy([text for _, text, _ in texts(document)], self._scrubbing.detector):
                edits = await offload.run(self._edits, document)
            else:
                edits = self._edits(document)
        except Blocked as blocked:
            return refusal(blocked.entity)
        except ArgumentsTooLong:
            return TOO_MUCH
        note = {"findings": dict(self.counts)} if self.counts else {}
        return Continue(Edits(members=edits), note=note) if edits or note else PASS

    def _edits(self, document: object) -> Sequence[SetMember]:
        edits = changes(document, self._flow)
        if edits and self._strict:
            edits += logprobs_of(document)
        return edits

    # --- streamed --------------------------------------------------------------------------------------------------------------

    def on_event(self, event: SseEvent, endpoint: Endpoint) -> Sequence[SseEvent]:
        """Raises EndStream, DetectionTimeout."""
        if self._rewriter is None:
            self._rewriter = StreamRewriter(SHAPES[endpoint], self._flow, strict=self._strict)
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


def refusal(entity: str) -> Reply:
    """An answer that is not given out."""
    return Reply(403, "pii.answer_blocked", f"The answer was stopped: it contains personal data ({entity}).")
