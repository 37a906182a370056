"""The further candidates of a request, for a gateway that asks the next one where one fails."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from headrace.ext_proc.core.candidates import MAX_CANDIDATES, Candidate, candidates_metadata
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.policy.catalogue import Catalogue
from headrace.ext_proc.engine.policy.models import Model
from headrace.ext_proc.engine.policy.pools import Pool
from headrace.ext_proc.engine.prices import Prices

_AS_IT_IS: Final = "".join(map(chr, range(0x21, 0x7F)))
"""In a path; bytes that are none of these are escaped, which means the same to every server."""

NOTHING: Final[Mapping[str, str | int]] = {}


class Failover(BaseModel):
    """Another pool where one fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempts: int = Field(3, ge=2, le=MAX_CANDIDATES, description="Pools that one request may be sent to, the first one included.")
    first_token_timeout: float | None = Field(
        None,
        ge=0.05,
        le=3600,
        description="Seconds a streamed answer may take to begin before the next pool is asked. Absent: as long as it takes.",
    )
    idle_timeout: float = Field(
        120.0,
        ge=0.05,
        le=3600,
        description="Seconds of silence after which a pool counts as dead: before an answer the next one is asked, within it the "
        "answer is cut off. The gateway has one for all callers: the longest that any setting gives.",
    )


class Candidates:
    """What the gateway is told of them. failover: the filter's setting; None: one candidate a request."""

    def __init__(self, failover: Failover | None, catalogue: Catalogue) -> None:
        self._failover = failover
        self._catalogue = catalogue
        self._prices = Prices(catalogue)

    @property
    def attempts(self) -> int:
        return self._failover.attempts if self._failover else 1

    def told(self, request: Request, model: Model, pools: Sequence[Pool], prompt: int) -> Mapping[str, str | int]:
        """The pools in the order in which the gateway is to ask them; nothing where it does not ask for them.

        pools: those that may serve the request, the chosen one first. prompt: its tokens, which a price may depend on.
        """
        if Capability.FAILOVER not in request.capabilities:
            return NOTHING
        asked, failover = request.call.model, self._failover
        candidates = [self._candidate(pool, asked, model, prompt) for pool in pools[: self.attempts]]
        limit = failover.first_token_timeout if failover and request.call.stream else None
        told = candidates_metadata(candidates, None if limit is None else round(limit * 1000))
        return {**told, "path": quote(request.path.encode("utf-8", "surrogateescape"), safe=_AS_IT_IS), "asked": asked}

    def _candidate(self, pool: Pool, asked: str, model: Model, prompt: int) -> Candidate:
        """A pool that serves another model costs what that model does, where the catalogue has it."""
        served = pool.model or asked
        entry = self._catalogue.find(served) or model
        return Candidate(pool.upstream, served, self._prices.of(entry, served, prompt))
