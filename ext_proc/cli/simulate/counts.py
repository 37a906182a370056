"""How many tokens a prompt has, as Anthropic's and OpenAI's APIs say it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Final

import msgspec

from . import messages, responses
from .turn import Ask, Event, Turn


class Count:
    """The endpoint at `path`, whose requests are those of a call that a model answers.

    read, error: of that call. adds: members that it wants and a count need not have. says: members of the answer beside the count.
    """

    def __init__(
        self,
        path: str,
        read: Callable[[bytes], Ask],
        error: Callable[[int, str], object],
        adds: dict[str, int],
        says: dict[str, str],
    ) -> None:
        self.path, self.error = path, error
        self._read, self._adds, self._says = read, adds, says

    def read(self, body: bytes) -> Ask:
        """Raises msgspec.MsgspecError (a ValueError) for a body the endpoint does not understand."""
        document: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        return replace(self._read(msgspec.json.encode({**document, **self._adds})), stream=False)

    def whole(self, turn: Turn) -> dict[str, object]:
        """The JSON of the count."""
        return {**self._says, "input_tokens": turn.ask.prompt_tokens}

    def events(self, turn: Turn) -> Iterator[Event]:
        """Counts are not streamed."""
        return iter(())


MESSAGES: Final = Count("/v1/messages/count_tokens", messages.read, messages.error, {"max_tokens": 1}, {})
RESPONSES: Final = Count("/v1/responses/input_tokens", responses.read, responses.error, {}, {"object": "response.input_tokens"})
