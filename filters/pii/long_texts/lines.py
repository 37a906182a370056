"""What the process that searches and its owner say to each other: a question on a socket of its own, answers in msgpack.

Where a plan has models, the process asks for what they find, in `Answer.unknown`, and is told in a list of findings for each.
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
    """plan: as `packed`. until: as in Allowance; None for no end.

    texts: each with the names that hold it, as `encoded`. Without any, the plan is made ready.
    """

    plan: bytes
    texts: Sequence[tuple[bytes, bytes]] = ()
    until: float | None = None


class Answer(msgspec.Struct, array_like=True):
    """spans: the findings in each text. unknown: segments of which models have to tell first, as `encoded`.

    late: the time was over before. unsearched: why a text could not be searched at all. problem: what else was in the way.
    """

    spans: Sequence[Sequence[Span]] = ()
    unknown: Sequence[bytes] = ()
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
