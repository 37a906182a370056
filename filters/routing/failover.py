"""The further candidates of a request, for a gateway that asks the next one where one fails."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from headrace.ext_proc.core.candidates import Candidate, candidates_metadata
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.request import Request
from headrace.filters.routing.settings import Failover
from headrace.filters.routing.weighing import Weighed

_AS_IT_IS: Final = "".join(map(chr, range(0x21, 0x7F)))
"""In a path; bytes that are none of these are escaped, which means the same to every server."""

NOTHING: Final[Mapping[str, str | int]] = {}


class Candidates:
    """What the gateway is told of them. failover: the filter's setting; None: one candidate a request."""

    def __init__(self, failover: Failover | None) -> None:
        self._failover = failover

    @property
    def attempts(self) -> int:
        return self._failover.attempts if self._failover else 1

    def told(self, request: Request, offers: Sequence[Weighed], sent: str) -> Mapping[str, str | int]:
        """The offers in the order in which the gateway is to ask them; nothing where it does not ask for them.

        offers: those that may serve the request, the chosen one first. sent: the model's name in the body.
        """
        if Capability.FAILOVER not in request.capabilities:
            return NOTHING
        failover = self._failover
        candidates = [_candidate(one) for one in _of_each_upstream(offers)[: self.attempts]]
        limit = failover.first_token_timeout if failover and request.call.stream else None
        told = candidates_metadata(candidates, None if limit is None else round(limit * 1000))
        return {**told, "path": quote(request.path.encode("utf-8", "surrogateescape"), safe=_AS_IT_IS), "asked": sent}


def _candidate(one: Weighed) -> Candidate:
    return Candidate(one.upstream, one.served, one.asked.price, one.offer.model.efforts)


def _of_each_upstream(offers: Sequence[Weighed]) -> Sequence[Weighed]:
    """Its first: an attempt is known by its upstream, and one that failed is not asked for another model."""
    found: dict[str, Weighed] = {}
    for one in offers:
        found.setdefault(one.upstream, one)
    return list(found.values())
