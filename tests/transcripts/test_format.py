"""The loader and the checks refuse what does not follow the format: an expectation nobody looks at is a test that cannot fail."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.effects import Release, Settle
from headrace.ext_proc.core.usage import Usage
from tests.transcripts.checks import check, contains
from tests.transcripts.model import FOLDER, Received, Seen, Transcript, read, transcripts

UNTOUCHED = "an_untouched_chat_passes_byte_for_byte"


def untouched(expect: dict[str, Any]) -> Transcript:
    return replace(read(FOLDER / f"{UNTOUCHED}.yaml"), expect=expect)


def test_every_transcript_is_named_like_a_sentence_and_expects_something() -> None:
    for transcript in transcripts():
        assert len(transcript.name.split("_")) >= 4, transcript.name
        assert {"refused", "upstream", "client"} & set(transcript.expect), transcript.name


@pytest.mark.parametrize("member", ["expects", "polices"])
def test_an_unknown_member_is_refused(member: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"policy: plain\nrequest: {{}}\nexpect: {{}}\n{member}: 1\n")
    with pytest.raises(ValueError, match=member):
        read(path)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"refused": {"status": 403}}, "refused request reached"),
    ({"upstream": {"name": "high-memory"}}, "upstream.name"),
    ({"upstream": {"headers": {"x-b": "1"}}}, "x-b is absent"),
    ({"upstream": {"headers": {"x-a": None}}}, "x-a is '1' and should be absent"),
    ({"upstream": {"body": {"model": "other"}}}, "upstream.body.model"),
    ({"client": {"status": 500}}, "client.status"),
    ({"client": {"body": "unchanged"}}, "byte for byte"),
    ({"client": {"body": {}}}, "client.body"),
    ({"client": {"events": []}}, "client.events"),
    ({"client": {"text": "bye"}}, "client.text"),
    ({"settled": []}, "settled"),
    ({"settled": [{"settle": "e1", "usage": "as reserved"}, {"release": "e2"}]}, "usage"),
    ({"decision": {"outcome": "cut"}}, "decision.outcome"),
    ({"settled": [{"settle": "e1"}, {"release": "e2"}], "surprise": 1}, "unknown members"),
]


@pytest.mark.parametrize(("expect", "words"), WRONG, ids=lambda value: repr(value)[:40])
def test_what_is_not_as_expected_is_said(expect: dict[str, Any], words: str) -> None:
    transcript = untouched({"settled": [{"settle": "e1"}, {"release": "e2"}]} | expect)
    received = Received("standard", {"x-a": "1"}, transcript.turn.request.body)
    effects: list[Settle | Release] = [Settle("o", "e1", Usage(1, 2)), Release("o", "e2")]
    said = b'data: {"choices": [{"delta": {"content": "hi"}}]}\n\n'
    with pytest.raises(AssertionError, match=words):
        check(transcript, Seen(received, 200, {}, said, effects, {"outcome": "handed_off"}))


def test_a_request_that_reached_nobody_is_said() -> None:
    with pytest.raises(AssertionError, match="nothing reached an upstream"):
        check(untouched({"upstream": {}}), Seen())


def test_a_header_of_ours_at_the_upstream_is_said() -> None:
    with pytest.raises(AssertionError, match="our headers reached the upstream"):
        check(untouched({"upstream": {}}), Seen(Received("standard", {"x-headrace-route": "x"}, b"")))


@pytest.mark.parametrize(("found", "expected"), [([1], [1, 2]), ("x", {"a": 1}), ({"a": [{"b": 1}]}, {"a": [{"b": 2}]})])
def test_documents_that_do_not_match(found: Any, expected: Any) -> None:
    with pytest.raises(AssertionError):
        contains(found, expected, "here")
