"""The judge finds what it is there to find: a good case has one thing wrong with it, and that is said."""

import base64
import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from tests.fuzz.cases import Case, Cases, Part
from tests.fuzz.client import Answer, Heard
from tests.fuzz.drafts import Draft
from tests.fuzz.judge import Evidence, judge
from tests.fuzz.readers import endpoints, readings
from tests.fuzz.upstream import Received

MAIL, SECRET = "fz7q@example.org", "hr-" + "s" * 40
DOCUMENT = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
ANSWER = Answer(200, {"x-headrace-exchange": "hx1"}, b'{"id": "1", "tag": "7"}')
REFUSAL = Answer(400, {"x-headrace-reason": "body.invalid"}, b'{"error": {"code": "body.invalid"}}')
DECISION = {"endpoint": "chat", "model": "m", "stream": False, "reserved": {"input_tokens": 1, "output_tokens": 9}}


def head(*more: bytes, target: bytes = b"/v1/chat/completions", tag: bytes = b"7") -> bytes:
    return b"\r\n".join([b"POST " + target + b" HTTP/1.1", b"host: x", b"x-fuzz: " + tag, *more, b"", b""])


def evidence(**changes: Any) -> Evidence:
    """A call that passed, of which all is well."""
    draft = Draft(b"POST", b"/v1/chat/completions", b"", [])
    case = Case(7, (Part("7", MAIL, 0, False),), [], [draft], [], whole=True, starved=False)
    received = [Received("standard", head(), json.dumps(DOCUMENT).encode())]
    return replace(Evidence(case, Heard([ANSWER]), received, {"hx1": DECISION}, [SECRET]), **changes)


def got(body: bytes | dict[str, Any] | None = None, *heads: bytes, faults: tuple[str, ...] = ()) -> Mapping[str, Any]:
    raw = body if isinstance(body, bytes) else json.dumps(body or DOCUMENT).encode()
    return {"received": [Received("standard", one, raw, faults) for one in heads or (head(),)]}


def hidden(text: str) -> Mapping[str, Any]:
    return got(DOCUMENT | {"user": text})


def heard(*answers: Answer, hung: bool = False, **more: Any) -> Mapping[str, Any]:
    return {"heard": Heard(answers, hung), **more}


TWICE = b'{"model": "x", "model": "m", "max_tokens": 9}'
FAULTS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "a hang": (heard(hung=True, received=[]), "hang"),
    "no answer": (heard(received=[]), "no answer"),
    "a 500": (heard(replace(REFUSAL, status=500), received=[]), "500"),
    "a refusal that was sent on": (heard(REFUSAL), "refused and sent on"),
    "a refusal in other words": (heard(replace(REFUSAL, body=b"no"), received=[]), "a refusal that is no JSON"),
    "a refusal without its code": (heard(replace(REFUSAL, body=b'{"error": {}}'), received=[]), "a refusal without a stable code"),
    "another's answer": (heard(replace(ANSWER, body=b'{"tag": "8"}')), "somebody else's answer"),
    "half an answer": (heard(replace(ANSWER, complete=False)), "half an answer"),
    "a request within": (got(None, head(), head(tag=b"smuggled")), "smuggled"),
    "sent twice": (got(None, head(), head()), "sent twice"),
    "framed twice": (got(None, faults=("framed twice",)), "at the upstream: framed twice"),
    "a key": (got(None, head(b"x-api-key: " + SECRET.encode())), "a credential at the upstream"),
    "a header of ours": (got(None, head(b"x-headrace-route: a")), "a header of ours at the upstream"),
    "gzip": (got(None, head(b"content-encoding: gzip")), "a compressed body"),
    "not JSON": (got(b"model=m"), "a body that no usual parser reads"),
    "a key twice": (got(TWICE), "read otherwise"),
    "another case": (got(b'{"model": "m", "Model": "x", "max_tokens": 9}'), "read otherwise"),
    "another model": (got(DOCUMENT | {"model": "x"}), "read otherwise"),
    "a stream": (got(DOCUMENT | {"stream": True}), "read otherwise"),
    "more tokens": (got(DOCUMENT | {"max_tokens": 10}), "read otherwise"),
    "more choices": (got(DOCUMENT | {"n": 2}), "read otherwise"),
    "another charset": (got(b'{"model": "m", "x": "+AGEAYg-"}', head(b"content-type: a; charset=utf-16")), ""),
    "another endpoint": (got(None, head(target=b"/v1/chat/../embeddings")), "another endpoint"),
    "the mail": (hidden(MAIL), "personal data at the upstream"),
    "the mail in capitals": (hidden(MAIL.upper()), "personal data at the upstream"),
    "the mail in base64": (hidden(base64.b64encode(f"to {MAIL}.".encode()).decode()), "personal data at the upstream"),
    "the mail in percents": (hidden(MAIL.replace("@", "%40")), "personal data at the upstream"),
    "the mail in escapes": (
        got(json.dumps(DOCUMENT | {"a": MAIL}).replace("@", "\\u0040").encode()),
        "personal data at the upstream",
    ),
    "the mail in gzip": (got(gzip.compress(MAIL.encode())), "personal data at the upstream"),
    "the mail in UTF-7": (
        got(json.dumps(DOCUMENT | {"a": MAIL.replace("@", "+AEA-")}).encode(), head(b"content-type: a; charset=utf-7")),
        "personal data to a reader",
    ),
}


@pytest.mark.parametrize(("changes", "kind"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found(changes: Mapping[str, Any], kind: str) -> None:
    kinds = [finding.kind for finding in judge(evidence(**changes))]
    assert kind in kinds if kind else kinds == []


def test_of_a_good_case_nothing_is_said() -> None:
    assert judge(evidence()) == []
    assert judge(evidence(**heard(REFUSAL, received=[]))) == []


def test_a_key_in_a_header_that_random_bytes_have_made_is_the_clients_own() -> None:
    broken = evidence(**got(None, head(b"author: ization: Bearer " + SECRET.encode())))
    assert [found.kind for found in judge(broken)] == ["a credential at the upstream"]
    assert judge(replace(broken, case=replace(broken.case, wild=True))) == []
    kept = evidence(**got(None, head(b"authorization: Bearer " + SECRET.encode())))
    assert [found.kind for found in judge(replace(kept, case=replace(kept.case, wild=True)))] == ["a credential at the upstream"]


def test_nobodys_call_is_found() -> None:
    good = evidence()
    nobody = replace(good.case, parts=(Part("7", MAIL, None, False),))
    assert [finding.kind for finding in judge(replace(good, case=nobody))] == ["nobody's call"]
    wild = replace(nobody, wild=True)
    assert [finding.kind for finding in judge(replace(good, case=wild))] == ["nobody's call"]
    assert judge(replace(good, case=replace(wild, written=[SECRET[:9].encode(), SECRET[9:].encode()]))) == []


@pytest.mark.parametrize(
    "target", ["/v1/chat/completions", "//V1//chat%2fcompletions/?a=b", "/x/../v1/chat/./completions;a", "/V1/CHAT/COMPLETIONS"]
)
def test_paths_are_read_as_lenient_servers_read_them(target: str) -> None:
    assert endpoints(target) == {"chat"}


def test_readers_differ_where_upstreams_do() -> None:
    found = readings(b'{"a": 1, "a": 2, "A": 3} x')
    assert found == {"lenient": {"a": 2, "A": 3}}
    found = readings(b'{"a": 1, "a": 2, "A": 3}')
    assert (found["json, last"]["a"], found["json, first"]["a"], found["Go"]["a"]) == (2, 1, 3)


def test_a_case_is_the_same_in_every_run() -> None:
    make: Callable[[int], Case] = Cases("s", ["hr-a", "hr-b"]).case
    assert [make(number).written for number in range(50)] == [make(number).written for number in range(50)]
    assert len({b"".join(make(number).written) for number in range(50)}) == 50
