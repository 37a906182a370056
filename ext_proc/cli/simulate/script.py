"""How a request wants to be answered: the header `x-simulate`, e.g. `x-simulate: tokens=40 pace=20 stall=3`."""

from typing import Annotated

import msgspec

HEADER = "x-simulate"

Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=600_000)]
ErrorStatus = Annotated[int, msgspec.Meta(ge=400, le=599)]


class Script(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One answer's behaviour. `stall` and `die` count the events that carry tokens; in a JSON answer, the tokens' steps."""

    tokens: Count = 16  # tokens of the answer, per choice, before the request's own cap
    echo: bool = False  # say the last user message instead of words; as tool arguments too
    pace: Milliseconds = 0  # between two steps of the generation
    delay: Milliseconds = 0  # before the answer begins; errors come at once
    stall: Count | None = None  # after so many steps say nothing more until the client is gone
    die: Count | None = None  # after so many steps cut the connection
    fail: ErrorStatus | None = None  # answer with this status and an error in the caller's dialect
    usage: bool = True  # false: leave `usage` out of the answer
    cached: Count = 0  # prompt tokens reported as read from a cache (never more than the prompt has)
    reasoning: Count = 0  # tokens of reasoning before the answer (chat completions and messages)


def parse(header: str) -> Script:
    """The script a header asks for: words `name=value`, or `name` alone for `name=true`, separated by blanks.

    Raises ValueError with the reason, which names the word, for an unknown word or a value out of range.
    """
    pairs = (word.partition("=") for word in header.split())
    try:
        return msgspec.convert({name: value if equals else "true" for name, equals, value in pairs}, Script, strict=False)
    except msgspec.ValidationError as error:
        raise ValueError(f"{HEADER}: {error}; known words: {', '.join(Script.__struct_fields__)}") from None
