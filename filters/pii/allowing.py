"""A detector that passes over the values a policy allows."""

from collections.abc import Collection, Iterator, Sequence

from headrace.filters.pii.spans import Detector, Span


class AllowingDetector:
    """allowed: values, folded."""

    def __init__(self, detector: Detector, allowed: Collection[str]) -> None:
        self._detector = detector
        self._allowed = frozenset(allowed)

    @property
    def waits(self) -> bool:
        return self._detector.waits

    def detect(self, text: str) -> tuple[Span, ...]:
        return tuple(self._others(text, self._detector.detect(text)))

    def segment(self, text: str) -> tuple[Span, ...]:
        return tuple(self._others(text, self._detector.segment(text)))

    def _others(self, text: str, spans: Sequence[Span]) -> Iterator[Span]:
        """What is not allowed. What lies within an allowed value, as a domain in an address, is allowed with it."""
        allowed = [span for span in spans if text[span.start : span.end].casefold() in self._allowed]
        for span in spans:
            if not any(each.start <= span.start and span.end <= each.end for each in allowed):
                yield span
