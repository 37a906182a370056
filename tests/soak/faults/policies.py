"""A policy file that changes under a running service: good and bad ones, swapped in whole or written in place."""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

Document = dict[str, Any]


def _with_unknown_filter(document: Document) -> bytes:
    document["filters"].insert(0, {"no_such_filter": {}})
    return _written(document)


def _with_missing_model(document: Document) -> bytes:
    document["models"].append({"name": "lost", "tokenizer": {"file": "/nonexistent/tokenizer.json"}})
    return _written(document)


def _with_deep_nesting(document: Document) -> bytes:
    return b'{"version": 1, "models": ' + b"[" * 5000


def _written(document: Document) -> bytes:
    return json.dumps(document, indent=1).encode()


BAD: Mapping[str, Callable[[Document], bytes]] = {
    "syntax": lambda document: _written(document) + b"\n]",
    "unknown_filter": _with_unknown_filter,
    "missing_model": _with_missing_model,
    "nested": _with_deep_nesting,
    "half_written": lambda document: _written(document)[: len(_written(document)) // 2],
    "empty": lambda document: b"",
    "binary": lambda document: bytes(range(256)),
}
"""What each leaves in the file."""
GOOD = "good"


@dataclass(frozen=True, slots=True)
class Changed:
    """marker: the name of a model that only a good policy of this moment has, for telling whether it is in force."""

    what: str
    marker: str

    @property
    def good(self) -> bool:
        return self.what == GOOD


class PolicyFile:
    """`document` at `path`. A good change adds nothing but a model nobody asks for; the last good one is put back by `right`."""

    def __init__(self, path: Path, document: Mapping[str, Any]) -> None:
        self.path = path
        self._document = document
        self._numbers = count(1)

    def change(self, random: Random) -> Changed:
        """A good one every other time."""
        what = GOOD if random.random() < 0.5 else random.choice(sorted(BAD))
        return self.put(what, in_place=random.random() < 0.5)

    def put(self, what: str, *, in_place: bool = False) -> Changed:
        """what: GOOD or one of BAD. in_place: a reader may meet half of it."""
        marker = f"reload-{next(self._numbers)}"
        document = copy.deepcopy(dict(self._document))
        document["models"] = [*document["models"], {"name": marker, "price": {"input": 1, "output": 1}}]
        self._write(BAD[what](document) if what != GOOD else _written(document), in_place=in_place)
        return Changed(what, marker)

    def right(self) -> None:
        """The document as it was given."""
        self._write(_written(dict(self._document)), in_place=False)

    def _write(self, content: bytes, *, in_place: bool) -> None:
        if in_place:
            with self.path.open("wb", buffering=0) as file:
                file.write(content[: len(content) // 2])
                file.write(content[len(content) // 2 :])
            return
        new = self.path.with_name(f".{self.path.name}.new")
        new.write_bytes(content)
        new.replace(self.path)
