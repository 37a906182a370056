"""The patterns of a plan, searched in a process of their own."""

import logging
from collections.abc import Sequence
from functools import cache
from math import inf

from headrace.filters.pii.allowance import Allowance, SearchLate
from headrace.filters.pii.long_texts.lines import Question, encoded, packed
from headrace.filters.pii.long_texts.process import NotThere, SearchProcess
from headrace.filters.pii.plan import Plan
from headrace.filters.pii.spans import DetectionTimeout, Named, Read, Span

log = logging.getLogger(__name__)


class PatternsOfLongTexts:
    """LongTexts. Until the process has made the plan ready, it can tell nothing."""

    def __init__(self, plan: Plan, process: SearchProcess) -> None:
        self._plan = packed(plan)
        self._process = process

    def find(self, texts: Sequence[Named], allowance: Allowance, read: Read | None = None) -> Sequence[Sequence[Span]] | None:
        """As LongTexts."""
        until = None if allowance.until == inf else allowance.until
        question = Question(self._plan, [(encoded(text), encoded(about)) for text, about in texts], until)
        try:
            answer = self._process.ask(question, allowance, read)
        except NotThere:
            return None
        if answer.late:
            raise SearchLate
        if answer.unsearched is not None:
            raise DetectionTimeout(answer.unsearched)
        if answer.problem is not None:  # whoever searches instead is told the same, or nothing is wrong
            log.warning("the process that searches long texts cannot", extra={"why": answer.problem})
            return None
        return answer.spans


@cache
def search_process() -> SearchProcess:
    """This process's; its plans share it."""
    return SearchProcess()
