"""What a model draws and says aloud is not looked at, stays what it is, and is named."""

import json
import random
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import pytest

from headrace.ext_proc.engine.policy.compile import Policy

from .driver import CHAT, Talk, delta
from .streaming import FINISH, OTHER, asked, in_pieces

# A run that a pattern takes for a card's number, amid bytes of an image.
BYTES = random.Random(7).randbytes(30_000)
IMAGE = b64encode(BYTES).decode() + "/4111111111111111/" + b64encode(BYTES[:301]).decode()
PIECES = in_pieces(IMAGE, 1001)
COMPLETED = {"type": "response.completed", "response": {}}


def _image(result: str) -> dict[str, Any]:
    return {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": result}


def _spoken(data: str) -> dict[str, Any]:
    return {"role": "assistant", "audio": {"id": "audio_1", "data": data, "transcript": f"to {OTHER}"}}


def _drawn(data: str) -> dict[str, Any]:
    return {"role": "assistant", "images": [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}]}


def _recorded(talk: Talk) -> Any:
    (record,) = [effect for effect in talk.close() if getattr(effect, "kind", "") == "pii"]
    return record.members["answer"]  # type: ignore[union-attr]


def _noted(talk: Talk) -> Any:
    (decision,) = [effect for effect in talk.close() if getattr(effect, "kind", "") == "decision"]
    return [step["note"] for step in decision.members["steps"] if step["phase"] == "response"][-1]  # type: ignore[union-attr]


WHOLE: Sequence[tuple[str, Any, str]] = [
    ("/v1/responses", {"output": [_image(IMAGE)]}, "image_generation_call.result"),
    (CHAT, {"choices": [{"message": _drawn(IMAGE)}]}, "image_url.url"),
    ("/v1/responses", {"data": [{"b64_json": IMAGE}]}, "data.b64_json"),
]


@pytest.mark.parametrize(("path", "document", "name"), WHOLE)
def test_media_of_a_whole_answer_stay_and_are_named(scrubbing: Policy, path: str, document: Any, name: str) -> None:
    talk, _ = asked(scrubbing, path)
    assert talk.whole(document) == document
    assert _noted(talk) == {"unread": {name: 1}}


def test_sound_of_a_whole_answer_stays_and_its_transcript_is_searched(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing)
    audio = talk.whole({"choices": [{"message": _spoken(IMAGE)}]})["choices"][0]["message"]["audio"]
    assert audio == {"id": "audio_1", "data": IMAGE, "transcript": "to <EMAIL_ADDRESS>"}
    assert _noted(talk) == {"findings": {"EMAIL_ADDRESS": 1}, "unread": {"audio.data": 1}}


def test_sound_of_a_chat_stream_stays_event_by_event(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing)
    said = [delta(audio={"id": "audio_1", "data": piece}) for piece in PIECES]
    spoken = [delta(audio={"transcript": piece}) for piece in in_pieces(f"to {OTHER}", 5)]
    events = talk.events([*said, *spoken, *FINISH])
    assert events[: len(said)] == said
    transcripts = [each["choices"][0]["delta"].get("audio", {}) for each in events[len(said) : -1]]
    assert "".join(each.get("transcript", "") for each in transcripts) == "to <EMAIL_ADDRESS>"
    assert _recorded(talk) == {"findings": {"EMAIL_ADDRESS": 1}, "action": "redact", "unread": {"audio.data": len(said)}}


@pytest.mark.parametrize("kind", ["response.audio.delta", "response.output_audio.delta"])
def test_sound_of_a_responses_stream_stays_event_by_event(scrubbing: Policy, kind: str) -> None:
    talk, _ = asked(scrubbing, "/v1/responses")
    said = [{"type": kind, "sequence_number": number, "delta": piece} for number, piece in enumerate(PIECES)]
    assert talk.events([*said, COMPLETED]) == [*said, COMPLETED]
    assert _recorded(talk) == {"unread": {kind: len(said)}}


def test_images_of_a_responses_stream_stay(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing, "/v1/responses")
    said = [
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": IMAGE, "partial_image_index": 0},
        {"type": "response.output_item.done", "output_index": 0, "item": _image(IMAGE)},
        {"type": "response.completed", "response": {"output": [_image(IMAGE)]}},
    ]
    assert talk.events(said) == said
    assert _recorded(talk) == {"unread": {"partial_image_b64": 1, "image_generation_call.result": 2}}


def test_what_is_no_base64_is_text_where_media_belong(scrubbing: Policy) -> None:
    talk, _ = asked(scrubbing, "/v1/responses")
    document = {"output": [_image(OTHER), {"type": "function_call_output", "result": "4111111111111111", "": "4111111111111111"}]}
    out = json.dumps(talk.whole(document))
    assert OTHER not in out and "4111111111111111" not in out


def test_media_are_not_named_where_answers_are_not_searched(restoring: Policy) -> None:
    talk, token = asked(restoring, "/v1/responses")
    assert talk.whole({"output": [_image(IMAGE), {"text": token}]})["output"][0] == _image(IMAGE)
    assert all(getattr(effect, "kind", "") != "pii" for effect in talk.close())
