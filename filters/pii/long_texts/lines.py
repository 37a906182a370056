"""What the process that searches and its owner say to each other: one question and one answer on a socket of its own, in msgpack.

Whoever does not want to know any more shuts the socket down for writing, or closes it.
"""

import pickle
from collections.abc import Sequence

import msgspec

from headrace.filters.pii.plan import Plan
from headrace.filters.pii.spans import Span

PLANS = 8
"""That the process has ready; of more, those used last."""


class Question(msgspec.Struct, array_like=True):
    """plan: as `packed`. whole: the texts are whole, else each is one segment. until: as in Allowance; None for no end.

    texts: each with the names that hold it, as `encoded`. Without any, the plan is made ready.
    """

    plan: bytes
    texts: Sequence[tuple[bytes, bytes]] = ()
    whole: bool = True
    until: float | None = None


class Answer(msgspec.Struct, array_like=True):
    """spans: the findings in each text. late: the time was over before. unsearched: why a text could not be searched at all.

    problem: what else was in the way.
    """

    spans: Sequence[Sequence[Span]] = ()
    late: bool = False
    unsearched: str | None = None
    problem: str | None = None


def packed(plan: Plan) -> bytes:
    return pickle.dumps(plan)


def unpacked(data: bytes) -> Plan:
    """data: as `packed`, of the process that started this one."""
    plan = pickle.loads(data)
    assert isinstance(plan, Plan)
    return plan


def encoded(text: str) -> bytes:
    """UTF-8, with halves of surrogate pairs as they are."""
    return text.encode("utf-8", "surrogatepass")


def decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
