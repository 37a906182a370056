"""Comments that follow a part of a document, which ruamel keeps at the last value within that part.

They speak of what comes next. So a part that is put in between has to take them over, or they would end up above it.
"""

from collections.abc import Iterator
from typing import Any

from ruamel.yaml.comments import CommentedBase, CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken


def hand_over(before: Any, after: Any) -> None:
    """Move the comment lines below `before` (a mapping or list) to below `after`. Nothing happens to plain values."""
    if isinstance(after, CommentedBase) and (text := take(before)):
        give(after, text)


def take(node: Any) -> str:
    """Cut off and return the comment lines below `node`; a comment on its last line itself stays."""
    chain = list(_ends(node))
    after_lists = "".join(_end_of_list(holder) for holder, _ in chain)
    return (_after_value(*chain[-1]) if chain else "") or after_lists


def _after_value(holder: Any, key: Any) -> str:
    slots = holder.ca.items.get(key)
    if not slots or not isinstance(slots[_slot(holder)], CommentToken):
        return ""
    own, newline, below = slots[_slot(holder)].value.partition("\n")
    if "#" not in below:
        return ""
    slots[_slot(holder)] = token(own + newline) if own.strip() else None
    return f"\n{below}"


def _end_of_list(holder: Any) -> str:
    """Where the last value is in flow style, the comment is kept at the end of a list around it."""
    text = "".join(" " * kept.column + kept.value for kept in holder.ca.end if isinstance(kept, CommentToken))
    if "#" not in text:
        return ""
    holder.ca.end = []
    return f"\n{text}"


def token(text: str) -> CommentToken:
    return CommentToken(text, CommentMark(0), None)


def give(node: CommentedBase, text: str) -> None:
    """Let comment lines stand below `node`, which is not empty."""
    *_, (holder, key) = _ends(node)
    slots = holder.ca.items.setdefault(key, [None] * (4 if isinstance(holder, CommentedMap) else 2))
    slots[_slot(holder)] = token(text)


def _ends(node: Any) -> Iterator[tuple[Any, Any]]:
    """The block mappings and lists at the end of `node`, from the outside in, each with its last key or index."""
    while isinstance(node, CommentedMap | CommentedSeq) and len(node) and not node.fa.flow_style():
        key = next(reversed(node)) if isinstance(node, CommentedMap) else len(node) - 1
        yield node, key
        node = node[key]


def _slot(holder: Any) -> int:
    """Where, beside a value, ruamel keeps the comment after it."""
    return 2 if isinstance(holder, CommentedMap) else 0
