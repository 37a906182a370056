"""What tests of streams share."""

from typing import Any

from headrace.ext_proc.engine.policy.compile import Policy

from .driver import CHAT, Talk, delta, user

PLAIN = "jane.doe@example.com"
OTHER = "joan@example.org"
FINISH = [delta(finish="stop"), "[DONE]"]


def asked(used: Policy, path: str = CHAT, value: str = PLAIN) -> tuple[Talk, str]:
    """An exchange whose prompt held a value, and the placeholder the model sees."""
    talk = Talk(used, path)
    body = {"model": "m", "input": f"for {value}"} if path == "/v1/responses" else user(f"for {value}", max_tokens=9)
    sent = talk.sent(body)
    text = sent["input"] if "input" in sent else sent["messages"][0]["content"]
    return talk, text.removeprefix("for ")


def in_pieces(text: str, size: int) -> list[str]:
    return [text[start : start + size] for start in range(0, len(text), size)]


def called(piece: str, index: int = 0) -> dict[str, Any]:
    """A piece of a tool call's arguments."""
    return delta(tool_calls=[{"index": index, "function": {"arguments": piece}}])


def responses_events(token: str, size: int) -> list[Any]:
    """A stream of OpenAI responses that says `token` in text and in a tool call, in pieces of `size`."""
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    call = {"item_id": "fc_1", "output_index": 1}
    written = f'{{"to": "{token}"}}'
    item = {"type": "message", "content": [{"type": "output_text", "text": f"To {token}"}]}
    return [
        *({"type": "response.output_text.delta", **at, "delta": piece} for piece in in_pieces(f"To {token}", size)),
        *({"type": "response.function_call_arguments.delta", **call, "delta": piece} for piece in in_pieces(written, size)),
        {"type": "response.output_text.done", **at, "text": f"To {token}"},
        {"type": "response.function_call_arguments.done", **call, "arguments": written},
        {"type": "response.completed", "response": {"id": "resp_1", "output": [item], "instructions": f"for {token}"}},
    ]


def messages_events(token: str, size: int) -> list[Any]:
    """The same as Anthropic's events, thinking included."""

    def block(index: int, kind: str, name: str, text: str) -> list[Any]:
        deltas = [{"type": kind, name: piece} for piece in in_pieces(text, size)]
        pieces = [{"type": "content_block_delta", "index": index, "delta": each} for each in deltas]
        start = {"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}}
        return [start, *pieces, {"type": "content_block_stop", "index": index}]

    return [
        {"type": "message_start", "message": {"id": "msg_1", "content": []}},
        *block(0, "thinking_delta", "thinking", f"hm {token}"),
        *block(1, "text_delta", "text", f"To {token} <EM"),
        *block(2, "input_json_delta", "partial_json", f'{{"to": "{token}"}}'),
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
        {"type": "message_stop"},
    ]
