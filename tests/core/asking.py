"""What tests of requests share."""

from typing import Any

from headrace.ext_proc.core.events import Refuse
from headrace.ext_proc.core.needs import Needs
from headrace.ext_proc.core.verdict import Continue, Edits, SetMember
from tests.kit import ScriptedFilter, filter_of

BODY = Needs.REQUEST_BODY
STREAM = Needs.RESPONSE_STREAM


def reads(**script: Any) -> ScriptedFilter:
    """A filter that needs the request's body."""
    return filter_of(needs=BODY, **script)


def sets(path: tuple[str | int, ...], value: Any) -> Continue:
    return Continue(Edits(members=[SetMember(path, value)]))


def refused(answer: object) -> Refuse:
    assert isinstance(answer, Refuse), answer
    return answer
