"""What differs between two policies, in words. Defaults are written out first: what is given as its default is no difference."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from msgspec import Struct

from headrace.ext_proc.engine.policy.compile import Policy
from headrace.ext_proc.engine.policy.models import PolicyDocument
from headrace.ext_proc.engine.registry import Registry, settings_by_name

Document = Mapping[str, Any]


class Difference(Struct, frozen=True):
    """subject: a part of the policy, such as `budget team-day`. what: its setting, empty where the part as a whole is meant.

    old, new: None where it is not there. meaning: what follows, empty where the values say it.
    """

    subject: str
    what: str
    old: Any
    new: Any
    meaning: str = ""

    def __str__(self) -> str:
        said = f"{self.subject}: {self._change()}"
        return f"{said}: {self.meaning}" if self.meaning else said

    def _change(self) -> str:
        if self.old is None or self.new is None:
            word = "new" if self.old is None else "gone"
            value = self.new if self.old is None else self.old
            return f"{self.what} is {word}: {_shown(value)}" if self.what else word
        return f"{self.what} from {_shown(self.old)} to {_shown(self.new)}"


class Content(Struct, frozen=True):
    """What a file that a policy names holds, as far as it is to be compared."""

    size: int
    sha256: str


def differences(old: Policy, new: Policy) -> Sequence[Difference]:
    """In the order of the policy's parts."""
    found = of_documents(old.document, new.document)
    if not found and old.revision == new.revision:
        return ()
    before, after = ({file.name: content_of(file.read_bytes()) for file in policy.files} for policy in (old, new))
    return [*found, *of_files(before, after)]


def of_documents(old: PolicyDocument, new: PolicyDocument) -> Sequence[Difference]:
    """What the policies' own files differ in."""
    settings = settings_by_name(Registry.installed())
    before, after = _parts(old, settings), _parts(new, settings)
    found: list[Difference] = []
    for part, words in PARTS.items():
        found += _part(part, words, before[part], after[part])
    return found


PARTS: Mapping[str, tuple[str, str, str]] = {
    "upstreams": ("upstream", "", ""),
    "models": ("model", "requests for it are answered", "requests for it are refused"),
    "identity": ("identity", "callers may show it", "callers who show it are not known any more"),
    "budgets": ("budget", "it must admit requests, too", "nothing is charged to it any more"),
    "filters": ("filter", "", "it does not run any more"),
    "overrides": ("override", "", "these callers have the chain's settings"),
    "policy": ("policy", "", ""),
}
"""Part → what one of it is called, and what follows where one is new, or gone."""

# What follows from the order of a part's members, where it matters.
_ORDER = {
    "models": "of globs that match, the first counts",
    "identity": "the first that applies names the caller",
    "filters": "each sees what those before it have made",
    "overrides": "later ones win",
}


def _parts(given: PolicyDocument, settings: Mapping[str, Any]) -> Document:
    """Each part as a mapping of names to members."""
    document = given.model_dump(mode="json")
    whole = {name: value for name, value in document.items() if name not in PARTS}
    return {
        "upstreams": document["upstreams"],
        "models": {one["name"]: {**_without_name(one), **_pools(one)} for one in document["models"]},
        "identity": _named(next(iter(one.items())) for one in document["identity"]),
        "budgets": {one["name"]: _without_name(one) for one in document["budgets"]},
        "filters": {name: _settings(settings.get(name), given) for entry in document["filters"] for name, given in entry.items()},
        "overrides": _named((_callers(one["when"]), one["set"]) for one in document["overrides"]),
        "policy": {"as a whole": whole},
    }


def _named(pairs: Iterable[tuple[str, Any]]) -> Document:
    """The second of a name is called so."""
    named: dict[str, Any] = {}
    for name, value in pairs:
        count = sum(known == name or known.startswith(f"{name} (") for known in named)
        named[f"{name} ({count + 1})" if count else name] = value
    return named


def _without_name(member: Document) -> dict[str, Any]:
    return {key: value for key, value in member.items() if key != "name"}


def _pools(model: Document) -> Document:
    """By upstream and not by position, so that one more does not seem to change those after it."""
    return {"pools": {one["upstream"]: {k: v for k, v in one.items() if k != "upstream"} for one in model["pools"]}}


def _settings(cls: Any, given: Document) -> Document:
    """With the filter's defaults; as they stand for a filter that is not installed here."""
    dumped: Document = given if cls is None else cls.model_validate(given).model_dump(mode="json")
    return dumped


def _of_each(old: Any, new: Any) -> tuple[Any, Any]:
    """One word for all beside one for each: the word is the default, and what one side does not name has its default."""
    if isinstance(old, str) and isinstance(new, dict) and "default" in new:
        old = {"default": old}
    if isinstance(new, str) and isinstance(old, dict) and "default" in old:
        new = {"default": new}
    if not (isinstance(old, dict) and isinstance(new, dict) and "default" in old and "default" in new):
        return old, new
    names = [*old, *(name for name in new if name not in old)]
    return tuple({name: one.get(name, one["default"]) for name in names} for one in (old, new))  # type: ignore[return-value]


def _callers(when: Document) -> str:
    return ", ".join(f"{level} {value if isinstance(value, str) else '/'.join(value)}" for level, value in when.items())


def _part(part: str, words: tuple[str, str, str], old: Document, new: Document) -> Iterator[Difference]:
    singular, when_new, when_gone = words
    for name in [*old, *(name for name in new if name not in old)]:
        subject = f"{singular} {name}"
        if name not in new:
            yield Difference(subject, "", old[name], None, when_gone)
        elif name not in old:
            yield Difference(subject, "", None, new[name], when_new or _added(part, name, new))
        else:
            yield from _members(subject, part, "", old[name], new[name])
    yield from _order(part, singular, old, new)


def _added(part: str, name: str, members: Document) -> str:
    """Of a filter its place; of anything else what it says."""
    if part != "filters":
        return _shown(members[name])
    names = list(members)
    place = names.index(name)
    return f"after {names[place - 1]}" if place else "first of the chain"


def _order(part: str, singular: str, old: Document, new: Document) -> Iterator[Difference]:
    before, after = [name for name in old if name in new], [name for name in new if name in old]
    if before != after and part in _ORDER:
        yield Difference(f"{singular}s" if singular != "identity" else singular, "order", before, after, _ORDER[part])


def _members(subject: str, part: str, what: str, old: Any, new: Any) -> Iterator[Difference]:
    old, new = _of_each(old, new)
    if isinstance(old, dict) and isinstance(new, dict):
        for name in [*old, *(name for name in new if name not in old)]:
            yield from _members(subject, part, f"{what}.{name}" if what else str(name), old.get(name), new.get(name))
        if what == "pools" and (before := [*old]) != (after := [*new]) and sorted(before) == sorted(after):
            yield Difference(subject, "order of pools", before, after, "the first that holds a request gets it")
    elif old != new:
        yield Difference(subject, what, old, new, _meaning(part, what, old, new))


def _meaning(part: str, what: str, old: Any, new: Any) -> str:
    if isinstance(old, list) and isinstance(new, list):
        return _of_lists(old, new)
    for (whose, setting), meaning in _MEANINGS.items():
        if whose in (part, "*") and (what == setting or what.startswith(f"{setting}.")):
            return meaning(old, new)
    return ""


def _of_lists(old: Sequence[Any], new: Sequence[Any]) -> str:
    gone, come = [one for one in old if one not in new], [one for one in new if one not in old]
    told = [f"no longer {', '.join(map(_shown, gone))}"] if gone else []
    return "; ".join([*told, *([f"now {', '.join(map(_shown, come))}"] if come else [])])


def _mode(old: Any, new: Any) -> str:
    return {
        "enforce": "its verdicts count",
        "shadow": "what it would do is recorded; nothing is changed or refused",
        "off": "it does not run",
    }.get(new, "")


def _on_error(old: Any, new: Any) -> str:
    return "requests go on without it where it fails" if new == "open" else "requests are refused where it fails"


def _action(old: Any, new: Any) -> str:
    return (
        {
            "block": "requests with it are refused",
            "report": "it is recorded, and sent as it is",
            "off": "nobody looks for it",
        }.get(new, "")
        if isinstance(new, str)
        else ""
    )


def _limit(old: Any, new: Any) -> str:
    if old is None or new is None:
        return "it counts something else, from nothing"
    return "raised" if float(new) > float(old) else "lowered"


def _anew(old: Any, new: Any) -> str:
    return "it counts from nothing"


def _next_request(old: Any, new: Any) -> str:
    return "for requests from now on; what was settled stays"


_MEANINGS: Mapping[tuple[str, str], Callable[[Any, Any], str]] = {
    ("filters", "mode"): _mode,
    ("filters", "on_error"): _on_error,
    ("filters", "request"): _action,
    ("budgets", "limit"): _limit,
    ("budgets", "per"): _anew,
    ("budgets", "window"): _anew,
    ("models", "price"): _next_request,
}
"""(part, setting) → what follows from a change of it."""


def of_files(old: Mapping[str, Content], new: Mapping[str, Content]) -> Iterator[Difference]:
    """Files that both policies name so, whose contents differ."""
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield Difference(f"file {name}", "content", f"{old[name].size} bytes", f"{new[name].size} bytes")


def content_of(content: bytes) -> Content:
    return Content(len(content), sha256(content).hexdigest())


def _shown(value: Any) -> str:
    """As a policy would have it, on one line."""
    if isinstance(value, dict):
        kept = {name: one for name, one in value.items() if one not in (None, [], {})}
        return f"{{{', '.join(f'{name}: {_shown(one)}' for name, one in kept.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return value if isinstance(value, str) else json.dumps(value)
