"""The hard constraints: which offers may take a request, and why each of the others does not."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple

from headrace.ext_proc.core.price import Price
from headrace.ext_proc.engine.policy.catalogue import matcher
from headrace.ext_proc.engine.policy.models import Upstream
from headrace.ext_proc.engine.policy.pools import Pool
from headrace.filters.routing.memory import GIB, Memory
from headrace.filters.routing.offers import Offer
from headrace.filters.routing.settings import MaxPrice


class Asked(NamedTuple):
    """What a request needs of one model.

    prompt, answer: tokens, by that model's tokenizer and of one choice. only: the upstreams it may go to; None for any. price: of
    the model that is served; None where it is not known. estimate: of the prompt, before correction; None: it is exact.
    """

    prompt: int
    answer: int
    choices: int
    only: frozenset[str] | None = None
    price: Price | None = None
    estimate: int | None = None
    counted: bool = True
    """False: `prompt` is its bytes, of which no tokenizer makes more tokens."""

    @property
    def need(self) -> int:
        return self.prompt + self.answer * self.choices


class Weighed(NamedTuple):
    """One offer. reason: the rule it fell by, None where it holds the request; why: in words, with the numbers."""

    offer: Offer
    asked: Asked
    reason: str | None
    why: str

    @property
    def pool(self) -> Pool | None:
        return self.offer.pool

    @property
    def upstream(self) -> str:
        """Empty for the gateway's own route."""
        return self.offer.pool.upstream if self.offer.pool else ""

    @property
    def served(self) -> str:
        """What the upstream calls the model."""
        return self.offer.served

    def note(self, asked: str) -> Mapping[str, Any]:
        """For the decision. asked: the model's name in the request."""
        return {**self.offer.note(asked), "fits": self.reason is None, "why": self.why}


Fall = tuple[str, str] | None
"""Reason and words of the rule an offer falls by."""

OF_COUNTS: Final = frozenset({"routing.context", "routing.prompt_size", "routing.memory_fit"})
"""Rules that fewer tokens might pass."""

NOT_PERMITTED: Final = frozenset({"routing.accept", "routing.tags", "routing.placement"})
"""Rules about who may see a request, or serve this caller."""


class Weighing:
    """The hard constraints of one policy, for one group of callers.

    tags: what an upstream must have. memory: of the pools whose GPUs are known, by their identity: two models may have pools that
    are equal. accept: globs of the models that may serve; empty: any. most: the highest price.
    """

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        tags: Sequence[str],
        memory: Mapping[int, Memory],
        accept: Sequence[str] = (),
        most: MaxPrice | None = None,
    ) -> None:
        self._lacks = {name: [tag for tag in tags if tag not in upstream.tags] for name, upstream in upstreams.items()}
        self._tagged = tags
        self._memory = memory
        self._accepts = matcher(accept)
        self._most = most
        self._rules: Sequence[Callable[[Offer, Asked], Fall]] = (
            self._sunset,
            *((self._accept,) if accept else ()),
            *((self._tags,) if tags else ()),
            self._placement,
            *((self._price,) if most else ()),
            self._context,
            self._size,
            *((self._fit,) if memory else ()),
        )

    def weigh(self, offers: Sequence[tuple[Offer, Asked]]) -> list[Weighed]:
        """Every offer, in the policy's order."""
        return [self._weighed(offer, asked) for offer, asked in offers]

    def _weighed(self, offer: Offer, asked: Asked) -> Weighed:
        for rule in self._rules:
            if (fall := rule(offer, asked)) is not None:
                return Weighed(offer, asked, *fall)
        return Weighed(offer, asked, None, self._holds(offer.pool, asked))

    def _holds(self, pool: Pool | None, asked: Asked) -> str:
        if pool is None:
            return "the gateway's own route"
        memory = self._memory.get(id(pool))
        if pool.max_tokens is None:
            return _share(memory, asked) if memory else "holds any number of tokens"
        limit = f"holds up to {pool.max_tokens} tokens"
        return f"{limit}; {_share(memory, asked)}" if memory else limit

    def _sunset(self, offer: Offer, _: Asked) -> Fall:
        return ("routing.sunset", f"is not served since {offer.gone}") if offer.gone else None

    def _accept(self, offer: Offer, _: Asked) -> Fall:
        return None if self._accepts(offer.name) else ("routing.accept", "is none of the models that may serve this caller")

    def _tags(self, offer: Offer, _: Asked) -> Fall:
        lacks = self._tagged if offer.pool is None else self._lacks[offer.pool.upstream]
        return ("routing.tags", f"has not the tag {' or '.join(lacks)}") if lacks else None

    def _placement(self, offer: Offer, asked: Asked) -> Fall:
        if asked.only is None or (offer.pool is not None and offer.pool.upstream in asked.only):
            return None
        return "routing.placement", f"what the prompt holds goes to {' or '.join(sorted(asked.only))} alone"

    def _price(self, _: Offer, asked: Asked) -> Fall:
        assert self._most is not None, "else the rule is not asked"
        if asked.price is None:
            return "routing.max_price", "its price is not known"
        for kind, most, price in ("input", self._most.input, asked.price.input), ("output", self._most.output, asked.price.output):
            if most is not None and _decimal(price) > most:
                return "routing.max_price", f"costs {price} USD per million {kind} tokens of {most}"
        return None

    def _context(self, offer: Offer, asked: Asked) -> Fall:
        context = offer.model.context
        if context is None or asked.prompt + asked.answer <= context:
            return None
        return "routing.context", f"needs {asked.prompt + asked.answer} tokens of a context of {context}"

    def _size(self, offer: Offer, asked: Asked) -> Fall:
        if offer.pool is None or offer.pool.max_tokens is None or asked.need <= offer.pool.max_tokens:
            return None
        return "routing.prompt_size", f"needs {asked.need} tokens of {offer.pool.max_tokens}"

    def _fit(self, offer: Offer, asked: Asked) -> Fall:
        memory = self._memory.get(id(offer.pool))
        if memory is None or (takes := memory.takes(asked.prompt, asked.answer, asked.choices)) <= memory.room:
            return None
        needs, has = takes / GIB, memory.room / GIB
        return "routing.memory_fit", f"needs {needs:.2f} GiB of KV cache for {asked.need} tokens, has {has:.2f} GiB"

    def most_of(self, pool: Pool) -> int:
        """Tokens that the pool takes; only of one that has a limit."""
        limits = [pool.max_tokens] if pool.max_tokens is not None else []
        return min(limits + ([self._memory[id(pool)].most] if id(pool) in self._memory else []))


def _share(memory: Memory, asked: Asked) -> str:
    takes, room = memory.takes(asked.prompt, asked.answer, asked.choices) / GIB, memory.room / GIB
    return f"takes {takes:.2f} of {room:.2f} GiB of KV cache, which holds {memory.most} tokens"


@lru_cache(256)
def _decimal(amount: str) -> Decimal:
    return Decimal(amount)
