"""One part of a list: there as it should be, replaced, or put in."""

from collections.abc import Callable, MutableMapping
from typing import Any

from headrace.ext_proc.envoy.config.nodes import Node, items, plain
from headrace.ext_proc.envoy.config.patch.edit import Editor


def absent(editor: Editor, parent: MutableMapping[str, Node], name: str, is_it: Callable[[Node], bool]) -> bool:
    """Let the list `parent[name]` have no item that `is_it`. Returns whether anything had to change."""
    places = [index for index, item in enumerate(items(parent, name)) if is_it(item)]
    for place in reversed(places):
        editor.remove(parent, name, place)
    return bool(places)


def ensure(
    editor: Editor,
    parent: MutableMapping[str, Node],
    name: str,
    wanted: Any,
    is_it: Callable[[Node], bool],
    at: int | None = None,
) -> bool:
    """Let the list `parent[name]` have `wanted`: in the place of the first item that `is_it`, else new at index `at`.

    Returns whether anything had to change.
    """
    listed = items(parent, name)
    place = next((index for index, item in enumerate(listed) if is_it(item)), None)
    if place is None:
        editor.insert(parent, name, wanted, at)
        return True
    if plain(listed[place]) == wanted:
        return False
    editor.replace(parent, name, place, wanted)
    return True
