"""Bodies as JSON: a request's read once and strictly, rewritten member by member so that every other byte run stays.

Parsers differ on duplicate keys (Go's takes "Model" for "model"), on NaN and on bytes that are no UTF-8. What two parsers read
differently is refused, so that what the filters saw is what the upstream gets.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from headrace.ext_proc.core.errors import BodyError
from headrace.ext_proc.core.verdict import Json, Path, SetMember

MAX_DEPTH = 200
"""Levels of nesting. Real requests and answers stay under 30; walkers of the tree may recurse."""
MAX_PARTS = 100_000
"""Objects and lists of a request; a message has one to four. A million, in two megabytes, would hold the loop for seconds."""
NO_JSON: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are no JSON or not of the type that is wanted, or go deeper than its stack."""


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`.

    Raises BodyError (400): not UTF-8, not JSON, not an object, a key twice in one object (capitals aside), deeper than MAX_DEPTH,
    more than MAX_PARTS, a number that Python cannot hold (its `1e999` is infinity, which is no JSON).
    """
    if _opened(body) > MAX_PARTS and _opened(_STRING.sub(b"", body)) > MAX_PARTS:
        raise BodyError("body.too_many_parts", f"the request body has more than {MAX_PARTS} objects and lists")
    try:
        document = _DECODER.decode(body.decode())
    except UnicodeDecodeError as error:
        raise BodyError("body.not_json", f"the request body is not UTF-8 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise BodyError("body.not_json", f"the request body is not valid JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise BodyError("body.too_deep", f"the request body is nested more than {MAX_DEPTH} levels deep") from None
    except ValueError:  # an integer of more digits than Python converts
        raise BodyError("body.not_json", "the request body has a number with too many digits") from None
    if _is_too_deep(body, document):
        raise BodyError("body.too_deep", f"the request body is nested more than {MAX_DEPTH} levels deep")
    if not isinstance(document, dict):
        raise BodyError("body.not_object", "the request body must be a JSON object")
    return document


def parse_lenient(text: str | bytes) -> Json:
    """A provider's JSON, or None where it is none: one that writes a key twice, or splits a surrogate pair, is still a provider.

    None, too, for what is nested deeper than MAX_DEPTH: how deep decoders go depends on the interpreter.
    """
    try:
        document = msgspec.json.decode(text)
    except (msgspec.DecodeError, ValueError, RecursionError):
        document = _parse_laxly(text)
    return None if _is_too_deep(text, document) else document


def _parse_laxly(text: str | bytes) -> Json:
    """As the SDKs of callers read it: halves of surrogate pairs and NaN included, other bytes than UTF-8 replaced, no BOM."""
    try:
        return json.loads(text if isinstance(text, str) else text.decode("utf-8-sig", "replace"))
    except (ValueError, RecursionError):
        return None


def names_twice(body: bytes) -> bool:
    """Whether an object in a JSON body names a key twice: what `parse_lenient` reads of it is then not all that stands there."""
    try:
        _DISTINCT.decode(body.decode("utf-8-sig", "replace"))
    except _NamedTwice:
        return True
    except (ValueError, RecursionError):
        pass
    return False


class _NamedTwice(Exception):
    pass


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _NamedTwice


_DISTINCT = json.JSONDecoder(object_pairs_hook=_distinct)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    names = "".join(found)
    folded = found if names.isascii() and names == names.lower() else {name.casefold() for name in found}
    if len(folded) != len(pairs):
        raise BodyError("body.duplicate_key", f"the request body names the key {_twice(pairs)} twice in one object")
    return found


def _twice(pairs: Sequence[tuple[str, Any]]) -> str:
    """The keys that some parser takes for one, in quotes."""
    spellings: dict[str, list[str]] = {}
    for name, _ in pairs:
        spellings.setdefault(name.casefold(), []).append(name)
    several = next(names for names in spellings.values() if len(names) > 1)
    return " or ".join(json.dumps(name[:80]) for name in dict.fromkeys(several[:2]))


def _no_constant(name: str) -> Any:
    raise BodyError("body.not_json", f"the request body is not valid JSON: {name} is not a JSON number")


def _finite(digits: str) -> float:
    if math.isinf(number := float(digits)):
        raise BodyError("body.not_json", "the request body has a number that is too large")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)


_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""One that nobody closed goes to the end: looking for its end from each of its quotes would take for ever."""


def _opened(body: bytes) -> int:
    return body.count(b"[") + body.count(b"{")


def _is_too_deep(text: str | bytes, document: Json) -> bool:
    """text: what the document was read from; most have fewer brackets than they may have levels."""
    brackets = text.count("[") + text.count("{") if isinstance(text, str) else _opened(text)
    if brackets <= MAX_DEPTH:
        return False
    level = _nested([document])
    for _ in range(MAX_DEPTH):
        level = _nested(child for node in level for child in (node.values() if isinstance(node, dict) else node))
    return bool(level)


def _nested(values: Iterable[Json]) -> Sequence[Any]:
    return [value for value in values if isinstance(value, dict | list)]


def put(document: Json, path: Path, value: Json) -> None:
    """Sets the member at `path` of a parsed document, in place.

    Raises KeyError, IndexError or TypeError when a step before the last does not exist.
    """
    for step in path[:-1]:
        document = document[step]
    document[path[-1]] = value


Tree = dict[str | int, Any]


def render(body: bytes, edits: Sequence[SetMember]) -> bytes:
    """`body` with the edits applied in order. Members that no edit touches keep their bytes, spellings and escapes included.

    Raises BodyError (400) for a body with half of a surrogate pair in it: that is no Unicode text and cannot be written anew. The
    same for what only `parse_lenient` reads.
    """
    wanted: Tree = {}
    for edit in edits:
        _plan(wanted, edit.path, edit.value)
    try:
        return _rewrite(body, wanted)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BodyError("body.lone_surrogate", "the request body has an escape that is half of a surrogate pair") from None


class _Leaf:
    """A new value in the plan, told apart from a branch."""

    __slots__ = ("value",)

    def __init__(self, value: Json) -> None:
        self.value = value


def _plan(tree: Tree, path: Path, value: Json) -> None:
    for depth, step in enumerate(path[:-1]):
        branch = tree.setdefault(step, {})
        if isinstance(branch, _Leaf):  # an earlier edit made this parent
            put(branch.value, path[depth + 1 :], value)
            return
        tree = branch
    tree[path[-1]] = _Leaf(value)


def _rewrite(raw: bytes | msgspec.Raw, wanted: Tree) -> bytes:
    if bytes(raw).lstrip()[:1] == b"[":
        items = msgspec.json.decode(raw, type=list[msgspec.Raw])
        for index, plan in wanted.items():
            items[int(index)] = _member(items[int(index)], plan)
        return msgspec.json.encode(items)
    members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    for name, plan in wanted.items():
        members[str(name)] = _member(members.get(str(name)), plan)
    return msgspec.json.encode(members)


def _member(old: msgspec.Raw | None, plan: Any) -> msgspec.Raw:
    if isinstance(plan, _Leaf):
        return msgspec.Raw(encode(plan.value))
    assert old is not None, "the exchange applies edits to the parsed document first, where a missing parent is an error"
    return msgspec.Raw(_rewrite(old, plan))


def written(document: Json) -> bytes:
    """What `parse_lenient` read, as JSON: half of a surrogate pair is an escape, NaN stays what it is."""
    return json.dumps(document, separators=(",", ":")).encode()


def encode(value: Json) -> bytes:
    """`value` as JSON; what UTF-8 cannot carry (lone surrogates) is escaped."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()
