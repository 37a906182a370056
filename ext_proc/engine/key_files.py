"""The file of API keys: YAML for people, JSON for speed, replaced in one step."""

import json
import secrets
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from headrace.ext_proc.engine.keys import KeyRecord, write_private
from headrace.ext_proc.engine.policy.lines import MAX_BYTES, parse, read_bytes
from headrace.ext_proc.engine.policy.problems import PolicyErrors, Problem, spelled
from headrace.ext_proc.engine.policy.validation import validated

MAX_FILE = 64 << 20  # half a million keys; more belong into the store


class KeyDocument(BaseModel):
    """The content of a key file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[KeyRecord, ...] = Field((), description="In the order they were made.")


def read_keys(path: Path) -> tuple[KeyRecord, ...]:
    """The keys in a file. Raises PolicyErrors, with lines.

    The file is YAML. What `write_keys` wrote is JSON as well and read as such, in a hundredth of the time.
    """
    content = read_bytes(path, MAX_FILE)
    try:
        document = KeyDocument.model_validate_json(json.dumps(_json(content)), strict=True)
    except (ValueError, RecursionError):
        document = _slowly(content, str(path))
    _check_unique(document, content, str(path))
    return document.keys


def _json(content: bytes) -> Any:
    return json.loads(content, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key is given twice")
    return members


def _slowly(content: bytes, file: str) -> KeyDocument:
    """Raises PolicyErrors at the lines at fault."""
    if len(content) > MAX_BYTES:
        raise PolicyErrors([Problem(file, 0, "", f"is larger than {MAX_BYTES:,} bytes and not as `headrace keys` writes it")])
    located = parse(content, file)
    problems: list[Problem] = []
    document = validated(
        KeyDocument,
        located.value,
        lambda where, message: problems.append(Problem(file, located.line_of(where), spelled(where), message)),
    )
    if document is None:
        raise PolicyErrors(problems)
    return document


def _check_unique(document: KeyDocument, content: bytes, file: str) -> None:
    seen: dict[str, int] = {}
    for index, key in enumerate(document.keys):
        for name, value in (("id", key.id), ("digest", key.digest)):
            first = seen.setdefault(f"{name} {value}", index)
            if first != index:
                message = f"keys[{first}] has the same {name}; each key has its own"
                raise PolicyErrors([Problem(file, _line(content, file, index), f"keys[{index}].{name}", message)])


def _line(content: bytes, file: str, index: int) -> int:
    return parse(content, file).line_of(("keys", index)) if len(content) <= MAX_BYTES else 0


def write_keys(path: Path, keys: tuple[KeyRecord, ...]) -> None:
    """Replaces the file in one step, for its owner alone. One key a line, YAML and JSON alike. Raises OSError."""
    target = path.resolve()  # a link stays a link
    lines = ",\n".join(key.model_dump_json(exclude_defaults=True) for key in keys)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    write_private(draft, f'{{"keys": [\n{lines}\n]}}\n'.encode())
    draft.replace(target)
