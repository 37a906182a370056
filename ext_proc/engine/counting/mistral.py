"""Mistral's chats, as its API and the engines that serve a tekken.json put them together.

    v3        <s>[AVAILABLE_TOOLS]…[/AVAILABLE_TOOLS][INST]system, a blank line, user[/INST]answer</s>
    v7 on     <s>[SYSTEM_PROMPT]system[/SYSTEM_PROMPT][INST]user[/INST]answer</s>
    v15 on    [MODEL_SETTINGS]…[/MODEL_SETTINGS] before the first user

Neighbours of one role are one message. What stands in brackets is one token, and roles are not rendered. Source: mistral_common,
tokens/tokenizers/instruct.py and protocol/instruct/normalize.py, which the tests compare with.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, groupby
from typing import Any, Final

from headrace.ext_proc.core.lenses import Prompt
from headrace.ext_proc.core.lenses.call import Texts
from headrace.ext_proc.engine.counting.conversation import Call, Turn, tools_of, turns
from headrace.ext_proc.engine.counting.counter import Frames

BLANK_LINE: Final = "\n\n"


def mistral(chat: dict[str, Any], frames: Frames) -> Prompt:
    """frames: as the tekken.json has them."""
    return _Rendering(frames).of(chat)


class _Rendering:
    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._version = frames.version
        self._texts = Texts()

    def of(self, chat: dict[str, Any]) -> Prompt:
        self._texts.overhead += 1  # <s>
        listed = list(turns(chat, "" if self._version >= 15 else BLANK_LINE, self._texts))
        merged = list(_merged(listed if self._version >= 7 else _without_system(listed)))
        for turn in merged:
            self._turn(turn)
        if any(turn.role == "user" for turn in merged):
            self._tools(chat)
            self._settings(chat)
        return self._texts.prompt(chat)

    def _turn(self, turn: Turn) -> None:
        match turn.role:
            case "assistant":
                self._assistant(turn)
            case "tool":
                self._result(turn)
            case "user" | "system":
                self._marked(2, turn.text)
            case _:  # the API has no such role
                self._texts.estimate(turn.text, 2)

    def _marked(self, markers: int, *texts: str) -> None:
        self._texts.overhead += markers
        for text in texts:
            self._texts.text(text)

    def _assistant(self, turn: Turn) -> None:
        self._marked(0 if turn.open else 1, turn.text.rstrip(" "))  # </s>
        if not turn.calls:
            return
        if self._version <= 7:
            self._marked(1, _dumped([_prepared(call) for call in turn.calls]))  # [TOOL_CALLS]
            return
        for call in turn.calls:  # [TOOL_CALLS]name[ARGS]arguments; v11 has [CALL_ID]id before the arguments
            self._marked(2, call.name, _dumped(_parsed(call.arguments or "{}")))
            if self._version == 11 and call.id:
                self._marked(1, call.id)

    def _result(self, turn: Turn) -> None:
        if self._version == 3:
            self._marked(2, _dumped({"content": _parsed(turn.text or "{}"), "call_id": turn.answers}))
        elif self._version <= 11:
            self._marked(3, turn.answers, turn.text)  # [TOOL_RESULTS]id[TOOL_CONTENT]text[/TOOL_RESULTS]
        else:
            self._marked(2, turn.text)

    def _tools(self, chat: Mapping[str, Any]) -> None:
        tools = [tool for tool in tools_of(chat) if _is_function(tool)]
        if tools:
            self._marked(2, _dumped([_tool(tool["function"]) for tool in tools]))
        if len(tools) < len(tools_of(chat)):
            self._texts.estimate()

    def _settings(self, chat: Mapping[str, Any]) -> None:
        """[MODEL_SETTINGS]…[/MODEL_SETTINGS], of models that are told of them."""
        if self._frames.effort:
            self._marked(2, _dumped({"reasoning_effort": chat.get("reasoning_effort") or self._frames.effort}))
        if self._frames.schemas and chat.get("response_format") not in (None, {"type": "text"}):
            self._texts.estimate(_dumped(chat["response_format"]), 2)


def _merged(listed: Sequence[Turn]) -> Iterator[Turn]:
    """Neighbours of users and of assistants are one."""
    for role, group in groupby(listed, key=lambda turn: turn.role):
        if role not in ("user", "assistant"):
            yield from group
            continue
        same = list(group)
        calls = tuple(chain.from_iterable(turn.calls for turn in same))
        yield Turn(role, BLANK_LINE.join(turn.text for turn in same if turn.text), calls, open=any(turn.open for turn in same))


def _without_system(listed: Sequence[Turn]) -> Sequence[Turn]:
    """v3 puts all of the system's words before those of the last user; a chat that no user begins begins with an empty one."""
    merged = [turn for turn in _merged(listed) if turn.role != "system"]
    if not merged or merged[0].role != "user":
        merged.insert(0, Turn("user", ""))
    system = BLANK_LINE.join(turn.text for turn in listed if turn.role == "system" and turn.text)
    last = max(index for index, turn in enumerate(merged) if turn.role == "user")
    if system:
        merged[last] = Turn("user", system + BLANK_LINE + merged[last].text)
    return merged


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("function"), dict)


def _tool(function: Mapping[str, Any]) -> Mapping[str, Any]:
    """With the members and defaults of Mistral's own type."""
    described = {
        "name": function.get("name"),
        "description": function.get("description") or "",
        "parameters": function.get("parameters") or {},
    }
    return {"type": "function", "function": described}


def _prepared(call: Call) -> Mapping[str, Any]:
    said = {"name": call.name, "arguments": _parsed(call.arguments or "{}")}
    return {**said, "id": call.id} if call.id and call.id != "null" else said


def _parsed(text: str) -> Any:
    """JSON is rendered as such, anything else as a text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
