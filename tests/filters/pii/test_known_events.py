"""Every event that the SDKs define is known, and every text that comes in pieces is a channel."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import anthropic.types
import anthropic.types.beta
import openai.types.responses
import pytest
from pydantic import BaseModel

from headrace.ext_proc.core.endpoint import Endpoint
from headrace.ext_proc.engine.policy.compile import Policy
from headrace.filters.pii.channels import SHAPES

from .driver import Talk
from .streaming import OTHER, PLAIN, asked, in_pieces

RESPONSES, MESSAGES = SHAPES[Endpoint.RESPONSES], SHAPES[Endpoint.MESSAGES]


def _models(module: Any, ending: str) -> Iterator[tuple[str, type[BaseModel]]]:
    """The module's models whose names end so, with the value of their `type`."""
    for name, model in vars(module).items():
        if name.endswith(ending) and isinstance(model, type) and issubclass(model, BaseModel) and "type" in model.model_fields:
            yield get_args(model.model_fields["type"].annotation)[0], model


_RESPONSES = dict(_models(openai.types.responses, "Event"))
_BESIDE_THE_SDK = (
    "response.shell_call_command.delta", "response.apply_patch_call_operation_diff.delta", "response.output_audio_transcript.delta",
    "response.code_interpreter_call.code.delta", "response.mcp_call.arguments.delta", "response.reasoning_part.added",
    "response.reasoning_part.done", "response.reasoning.delta",
)  # fmt: skip
_SOUND = ("response.audio.delta", "response.output_audio.delta")


@pytest.mark.parametrize("kind", sorted({*_RESPONSES, *_BESIDE_THE_SDK}))
def test_an_event_of_the_responses_api_is_known_and_its_delta_is_a_channel(kind: str) -> None:
    document = {"type": kind, "delta": "x"}
    assert RESPONSES.defines(document)
    slots = RESPONSES.read(document).slots
    assert len(slots) == (kind.endswith(".delta") and kind not in _SOUND)


def test_there_are_events_in_the_sdk() -> None:
    assert {"response.output_text.delta", "response.completed", "error"} <= set(_RESPONSES)


_DELTAS = [(kind, model) for module in (anthropic.types, anthropic.types.beta) for kind, model in _models(module, "Delta")]
_NO_TEXT = {"type", "signature", "encrypted_content"}


@pytest.mark.parametrize(("kind", "model"), _DELTAS)
def test_the_texts_of_a_block_of_anthropics_are_channels(kind: str, model: type[BaseModel]) -> None:
    named = {name: field.annotation for name, field in model.model_fields.items()}
    texts = {name for name, kind in named.items() if kind is str or str in get_args(kind)} - _NO_TEXT
    delta = dict.fromkeys(texts, "x") | {"type": kind, "signature": "EqQ", "encrypted_content": "EqQ"}
    slots = MESSAGES.read({"type": "content_block_delta", "index": 0, "delta": delta}).slots
    assert {slot.path[-1] for slot in slots} == texts


@pytest.mark.parametrize("kind", sorted({kind for kind, _ in _models(anthropic.types, "Event")}))
def test_an_event_of_anthropics_is_known(kind: str) -> None:
    assert MESSAGES.defines({"type": kind})


def test_what_two_commands_write_is_searched_and_restored_apart(scrubbing: Policy) -> None:
    talk, token = asked(scrubbing, "/v1/responses")
    at = {"item_id": "sh_1", "output_index": 0}
    kind = "response.shell_call_output_content"
    pieces = [
        {"type": f"{kind}.delta", **at, "command_index": command, "delta": {name: piece}}
        for piece in in_pieces(f"{token} wrote to {OTHER}", 5)
        for command, name in ((0, "stdout"), (0, "stderr"), (1, "stdout"))
    ]
    done = {"type": f"{kind}.done", **at, "command_index": 1, "output": []}
    middle = len(pieces) // 2
    events = talk.events([*pieces[:middle], done | {"command_index": 2}, *pieces[middle:], done, {"type": "response.completed"}])
    for command, name in ((0, "stdout"), (0, "stderr"), (1, "stdout")):
        deltas = [each["delta"] for each in events if each["type"] == f"{kind}.delta" and each["command_index"] == command]
        assert "".join(each.get(name, "") for each in deltas) == f"{PLAIN} wrote to <EMAIL_ADDRESS>"


def test_a_spoken_answers_transcript_is_searched(scrubbing: Policy) -> None:
    talk = Talk(scrubbing, "/v1/responses")
    talk.sent({"model": "m", "input": "hi"})
    pieces = [{"type": "response.audio.transcript.delta", "delta": piece} for piece in in_pieces(f"to {OTHER} now", 3)]
    events = talk.events([*pieces, {"type": "response.audio.transcript.done"}, {"type": "response.completed", "response": {}}])
    assert "".join(each.get("delta", "") for each in events) == "to <EMAIL_ADDRESS> now", json.dumps(events)
