"""What must hold of a request, whatever was done to it: nothing smuggled, nothing let through unread, every refusal in words."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.fuzz.cases import Case, Part
from tests.fuzz.client import Answer, Heard
from tests.fuzz.readers import endpoints, readings, shows
from tests.fuzz.upstream import Received

CODE = re.compile(r"[a-z_]+\.[a-z_]+")
CAPS: Mapping[str, Sequence[str]] = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
}
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"api-key"})
ENVOYS_OWN = frozenset({400, 403, 404, 408, 411, 413, 414, 426, 431, 501})
"""What Envoy's codec and router say of HTTP that is none, or that they do not do. 501: a transfer-encoding it does not know."""


@dataclass(frozen=True)
class Finding:
    """kind: for counting. detail: for whoever looks into it."""

    kind: str
    number: int
    detail: str


@dataclass(frozen=True)
class Evidence:
    """All that is known of one case. decisions: by exchange."""

    case: Case
    heard: Heard
    received: Sequence[Received]
    decisions: Mapping[str, Mapping[str, Any]]
    secrets: Sequence[str]


def judge(evidence: Evidence) -> list[Finding]:
    """Findings, the first of each kind; none where all is well.

    Envoy closes the connection with a refusal, and what is pipelined behind it resets it: of several none need be answered.
    """
    found: dict[str, str] = {}
    for kind, detail in (*_answers(evidence), *_arrivals(evidence)):
        found.setdefault(kind, detail)
    told = ", ".join(evidence.case.told)
    return [Finding(kind, evidence.case.number, f"({told}) {detail[:900]}") for kind, detail in found.items()]


def outcomes(evidence: Evidence) -> Iterator[str]:
    """One for each request of the case, for counting."""
    for at, _ in enumerate(evidence.case.parts):
        yield _outcome(evidence.heard.answers[at]) if at < len(evidence.heard.answers) else "closed without an answer"


def _outcome(answer: Answer) -> str:
    if answer.status == 0:
        return "stream reset"
    if answer.status < 300:
        return "passed" if "x-headrace-route" in answer.headers else "passed, no call"
    if reason := answer.headers.get("x-headrace-reason"):
        return f"refused: {answer.status} {reason}"
    return f"refused by Envoy: {answer.status}"


Found = Iterator[tuple[str, str]]

# --- answers -------------------------------------------------------------------------------------------------------------------


def _answers(evidence: Evidence) -> Found:
    case, answers = evidence.case, evidence.heard.answers
    if evidence.heard.hung:
        yield "hang", f"{len(answers)} of {len(case.parts)} answers"
    elif case.whole and not answers and len(case.parts) == 1:
        yield "no answer", "the connection was closed"
    for at, answer in enumerate(answers):
        part = case.parts[at] if at < len(case.parts) else None
        yield from _answer(answer, part, case)
    if not case.wild and not case.starved and len(answers) > len(case.parts):
        yield "more answers than requests", f"{len(answers)}"


def _answer(answer: Answer, part: Part | None, case: Case) -> Found:
    said = f"{answer.status} {dict(answer.headers)} {answer.body[:300]!r}"
    if not answer.complete and (case.whole or answer.status) and not case.starved:
        yield "half an answer", said
    if answer.status >= 500 and answer.status not in ENVOYS_OWN:
        yield f"{answer.status}", said
    if answer.status >= 400:
        yield from _refusal(answer, part, said)
    elif part is not None and answer.body and not case.wild and not case.starved and _tag(answer) != part.tag:
        yield "somebody else's answer", said


def _tag(answer: Answer) -> str:
    """Of the request that the upstream answered."""
    found = re.search(rb'"tag": "([^"]*)"', answer.body)
    return found[1].decode() if found else ""


def _refusal(answer: Answer, part: Part | None, said: str) -> Found:
    reason = answer.headers.get("x-headrace-reason")
    if reason is None:
        if answer.status not in ENVOYS_OWN:
            yield "a refusal without a code", said
        return
    try:
        document: Any = json.loads(answer.body) if answer.body else None
    except ValueError:
        yield "a refusal that is no JSON", said
        return
    if CODE.fullmatch(reason) is None or (document is not None and document["error"].get("code") != reason):
        yield "a refusal without a stable code", said
    if document is not None and document.get("type") not in (None, "error"):
        yield "a refusal in no dialect", said


# --- what the upstreams got ----------------------------------------------------------------------------------------------------


def _arrivals(evidence: Evidence) -> Found:
    tags = {part.tag: part for part in evidence.case.parts}
    seen: set[str] = set()
    for request in evidence.received:
        said = f"{request.head!r} {request.body[:300]!r}"
        if request.tag not in tags and not evidence.case.wild:
            yield "smuggled", said
        if request.tag in seen:
            yield "sent twice", said
        seen.add(request.tag)
        yield from _arrival(request, tags.get(request.tag, evidence.case.parts[0]), evidence, said)


def _arrival(request: Received, part: Part, evidence: Evidence, said: str) -> Found:
    for fault in request.faults:
        yield f"at the upstream: {fault}", said
    shown = _where_credentials_are(request, wild=evidence.case.wild) + request.body
    if any(secret.encode() in shown for secret in evidence.secrets):
        yield "a credential at the upstream", said
    if any(name.startswith(b"x-headrace") for name, _ in request.headers()):
        yield "a header of ours at the upstream", said
    called = endpoints(request.target) if request.method == "POST" or request.body else set()
    answer = _answer_to(request, evidence)
    if answer is not None and answer.status >= 400 and called:
        yield "refused and sent on", f"{answer.status} {said}"
    if called and part.who is None and not _one_key_spoiled(evidence):
        yield "nobody's call", said
    if called:
        yield from _call(request, part, called, _decision(answer, evidence), said)


def _where_credentials_are(request: Received, *, wild: bool) -> bytes:
    """Bytes changed at random may have broken a credential's header into one of another name, which is the client's own."""
    return b"\n".join(value for name, value in request.headers() if name in CREDENTIALS) if wild else request.head


def _one_key_spoiled(evidence: Evidence) -> bool:
    """Whether bytes changed at random may have left one of two credentials, which then counts."""
    return evidence.case.wild and any(secret.encode() in b"".join(evidence.case.written) for secret in evidence.secrets)


def _answer_to(request: Received, evidence: Evidence) -> Answer | None:
    """By the tag it repeats, or as the only one there is."""
    wanted = f'"tag": "{request.tag}"'.encode()
    repeated = [answer for answer in evidence.heard.answers if wanted in answer.body]
    alone = evidence.heard.answers if len(evidence.case.parts) == len(evidence.received) == len(evidence.heard.answers) == 1 else []
    return next(iter(repeated or alone), None)


def _decision(answer: Answer | None, evidence: Evidence) -> Mapping[str, Any] | None:
    return None if answer is None else evidence.decisions.get(answer.headers.get("x-headrace-exchange", ""))


def _call(request: Received, part: Part, called: set[str], decision: Mapping[str, Any] | None, said: str) -> Found:
    if decoding := shows(request.body, part.mail):
        yield "personal data at the upstream", f"{decoding}: {said}"
    if request.header(b"content-encoding").strip() not in (b"", b"identity"):
        yield "a compressed body", said
    found = readings(request.body, request.header(b"content-type").decode("latin-1"))
    if "json, last" not in found:
        yield "a body that no usual parser reads", said
    for name, document in found.items():
        if decoding := shows(json.dumps(document).encode(), part.mail):
            yield "personal data to a reader", f"{name}, {decoding}: {said}"
    if decision is None:
        return
    if called != {decision.get("endpoint")}:
        yield "another endpoint", f"{called} {decision.get('endpoint')} {said}"
    for name, document in found.items():
        for fault in _differences(document, decision):
            yield "read otherwise", f"{name}: {fault} {said}"


def _differences(document: Any, decision: Mapping[str, Any]) -> Iterator[str]:
    """Between what a reader makes of the body and what was decided on."""
    if not isinstance(document, dict):
        yield "no object"
        return
    if document.get("model") != decision.get("model"):
        yield f"model {document.get('model')!r}, not {decision.get('model')!r}"
    if bool(document.get("stream")) != bool(decision.get("stream")) and decision.get("endpoint") != "embeddings":
        yield f"stream {document.get('stream')!r}, not {decision.get('stream')!r}"
    reserved = (decision.get("reserved") or {}).get("output_tokens", 0)
    endpoint = decision.get("endpoint", "")
    choices = (document.get("n") or 1) if endpoint in ("chat", "completions") else 1
    for cap in (document.get(name) for name in CAPS.get(endpoint, ())):
        if cap is not None and _over(cap, choices, reserved):
            yield f"{cap!r} tokens times {choices!r}, and {reserved} reserved"


def _over(cap: Any, choices: Any, reserved: int) -> bool:
    return not isinstance(cap, int) or not isinstance(choices, int) or cap * choices > reserved
