"""JSON of files that people give: what is wrong with it, in words."""

import json
from typing import Any


def read_json(text: str | bytes) -> Any:
    """The value. Raises ValueError that says what is wrong and, within a line, where."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.object[error.start]:#04x} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg[:1].lower()}{error.msg[1:]} at character {error.pos + 1}") from None
    except (RecursionError, ValueError):
        raise ValueError("is no JSON that can be read: nested too deep, or a number of thousands of digits") from None


def json_or_none(text: bytes) -> Any:
    """The value; None for what is no JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
