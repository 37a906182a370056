"""The workshop's process: one JSON line in, one out. A job is a request, and the answer what the policy would do with it.

Nothing is sent, and no store is asked: counters begin empty with each request.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from headrace.ext_proc.core.principal import Principal
from headrace.ext_proc.engine.explaining import explained
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.engine.policy.offline import compiled
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.policy.reload import Signature, signatures
from headrace.ext_proc.engine.trial import Asked
from headrace.ext_proc.stores.memory import MemoryStore
from headrace.filters.pii import PiiFilter
from headrace.filters.pii.samples import BadLine, detector_of, samples
from headrace.filters.pii.spans import Span, disjoint

Answer = Mapping[str, Any]
TEXTS = 200
"""Texts of one request that are shown; those with findings come first."""


class Bench:
    """Keeps the policy compiled, and its detector loaded, until their files change."""

    def __init__(self) -> None:
        self._seen: Mapping[Path, Signature] = {}
        self._policy: Policy | PolicyErrors | None = None
        self._store = MemoryStore()
        self._detector: Any = None

    def do(self, job: Mapping[str, Any]) -> Answer:
        """job: policy (path), gateway, path, headers (pairs), body, who (levels). The answer has `problems` of the policy, or
        `document` as `headrace explain --json` prints it, the policy's `revision`, and what `_texts` has, in pieces.
        """
        policy = self._compiled(Path(job["policy"]), Gateway(job["gateway"]))
        if isinstance(policy, PolicyErrors):
            return {"problems": [str(problem) for problem in policy.problems]}
        who = Principal(**job["who"]) if job["who"] else None
        pairs = [(name, value) for name, value in job["headers"]]
        document = asyncio.run(explained(policy, self._store, Asked(job["body"].encode(), path=job["path"], headers=pairs), who))
        return {"document": document, "revision": policy.revision, **self._texts(policy, job["body"])}

    def _compiled(self, path: Path, gateway: Gateway) -> Policy | PolicyErrors:
        if self._policy is None or signatures(self._seen) != self._seen:
            self._detector = None
            seen = signatures([path])
            self._policy = compiled(path, gateway, self._store)
            self._seen = {**signatures(self._policy.files), **seen}
        return self._policy

    def _texts(self, policy: Policy, body: str) -> Answer:
        """`texts`: those of the body with a finding; `more_texts`: how many there are besides; `unsearched`: why none was read."""
        found = next((one for one in policy.filters if isinstance(one, PiiFilter)), None)
        if found is None:
            return {"texts": (), "more_texts": 0, "unsearched": "the policy has no filter pii"}
        if self._detector is None:
            self._detector = detector_of(found.plan)
        try:
            searched = [one for one in samples(self._detector, body, "body.json") if one.spans]
        except BadLine:
            return {"texts": (), "more_texts": 0, "unsearched": "the body is not JSON"}
        shown = [{"place": one.place, "pieces": list(pieces(one.text, disjoint(one.spans)))} for one in searched[:TEXTS]]
        return {"texts": shown, "more_texts": len(searched) - len(shown), "unsearched": ""}


def pieces(text: str, spans: Iterable[Span]) -> Iterable[tuple[str, str]]:
    """The text, cut where findings begin and end: each piece with its entity, empty where it is none."""
    done = 0
    for span in spans:
        if span.start > done:
            yield text[done : span.start], ""
        yield text[span.start : span.end], span.entity
        done = span.end
    if done < len(text):
        yield text[done:], ""


def main() -> None:
    """Until the input ends. What goes wrong is told by its kind alone: the words may be the request's."""
    os.nice(10)
    bench = Bench()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)  # whatever a library prints is no answer
    for line in sys.stdin:
        try:
            answer: Answer = bench.do(json.loads(line))
        except Exception as error:  # noqa: BLE001  # one request must not end the process for the next
            answer = {"failed": type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
