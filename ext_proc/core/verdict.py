"""What a filter says of a request or an answer: a value, applied by the exchange."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from msgspec import Struct

from headrace.ext_proc.core.facts import Fact

Json = Any
Path = tuple[str | int, ...]
Metadata = Mapping[str, str | int | float]
_NONE: Mapping[Any, Any] = MappingProxyType({})


class SetMember(Struct, frozen=True):
    """Puts `value` at `path` of a JSON body; the last step may be a new member, every step before it must exist."""

    path: Path
    value: Json


class Edits(Struct, frozen=True):
    """Changes to a request or an answer. Header names in lower case; a set replaces every former value."""

    set_headers: Mapping[str, str] = _NONE
    remove_headers: Sequence[str] = ()
    members: Sequence[SetMember] = ()
    reroute: bool = False
    """The route must be chosen anew, because a header it depends on has changed."""
    body: bytes | None = None
    """Replaces an answer that is not JSON, whole."""


NO_EDITS = Edits()


class Continue(Struct, frozen=True):
    """Go on, with these edits.

    facts: what later filters may rely on. metadata: what the gateway's access log and header rules may read, under the
    namespace `headrace`. note: what the decision record shows; never a prompt's text. reason: a stable name, shown with it.
    """

    edits: Edits = NO_EDITS
    facts: Mapping[Fact[Any], Any] = _NONE
    metadata: Metadata = _NONE
    note: Mapping[str, Json] = _NONE
    reason: str = ""


PASS = Continue()


class Reply(Struct, frozen=True):
    """Answer the caller at once. The body is written in the caller's dialect from `message`, `reason` and `param`.

    retry_after: seconds after which the same request may succeed, or None where waiting does not help; it becomes `retry-after`
    or `x-should-retry: false`.
    """

    status: int
    reason: str
    message: str
    param: str | None = None
    retry_after: int | None = None
    headers: Mapping[str, str] = _NONE
    note: Mapping[str, Json] = _NONE


Verdict = Continue | Reply
