"""Which pools of a model may take a request, in order, and why each of the others does not."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from headrace.ext_proc.core.verdict import Reply
from headrace.ext_proc.engine.policy.models import Model, Upstream
from headrace.ext_proc.engine.policy.pools import Pool
from headrace.filters.routing.memory import GIB, Memory


class Asked(NamedTuple):
    """What a request needs. prompt, answer: tokens, the answer's of one choice. only: the upstreams it may go to; None for any."""

    prompt: int
    answer: int
    choices: int
    only: frozenset[str] | None = None

    @property
    def need(self) -> int:
        return self.prompt + self.answer * self.choices


class Weighed(NamedTuple):
    """One pool. reason: the rule it fell by, None where it holds the request; why: in words, with the numbers."""

    pool: Pool
    reason: str | None
    why: str

    @property
    def note(self) -> Mapping[str, Any]:
        return {"upstream": self.pool.upstream, "fits": self.reason is None, "why": self.why}


Fall = tuple[str, str] | None
"""Reason and words of the rule a pool falls by."""


class Weighing:
    """The hard constraints of one policy. tags: what an upstream must have. memory: of the pools whose GPUs are known, by their
    identity: two models may have pools that are equal.
    """

    def __init__(self, upstreams: Mapping[str, Upstream], tags: Sequence[str], memory: Mapping[int, Memory]) -> None:
        self._lacks = {name: [tag for tag in tags if tag not in upstream.tags] for name, upstream in upstreams.items()}
        self._memory = memory
        self._rules: Sequence[Callable[[Pool, Asked], Fall]] = (
            *((self._tags,) if tags else ()),
            self._placement,
            self._size,
            *((self._fit,) if memory else ()),
        )

    def weigh(self, model: Model, asked: Asked) -> list[Weighed]:
        """Every pool of the model, in the policy's order."""
        return [self._weighed(pool, asked) for pool in model.pools]

    def _weighed(self, pool: Pool, asked: Asked) -> Weighed:
        for rule in self._rules:
            if (fall := rule(pool, asked)) is not None:
                return Weighed(pool, *fall)
        return Weighed(pool, None, self._holds(pool))

    def _holds(self, pool: Pool) -> str:
        if pool.max_tokens is not None:
            return f"holds up to {pool.max_tokens} tokens"
        memory = self._memory.get(id(pool))
        return "holds any number of tokens" if memory is None else f"its KV cache holds {memory.most} tokens"

    def _tags(self, pool: Pool, _: Asked) -> Fall:
        lacks = self._lacks[pool.upstream]
        return ("routing.tags", f"has not the tag {' or '.join(lacks)}") if lacks else None

    def _placement(self, pool: Pool, asked: Asked) -> Fall:
        if asked.only is None or pool.upstream in asked.only:
            return None
        return "routing.placement", f"what the prompt holds goes to {' or '.join(sorted(asked.only))} alone"

    def _size(self, pool: Pool, asked: Asked) -> Fall:
        if pool.max_tokens is None or asked.need <= pool.max_tokens:
            return None
        return "routing.prompt_size", f"needs {asked.need} tokens of {pool.max_tokens}"

    def _fit(self, pool: Pool, asked: Asked) -> Fall:
        memory = self._memory.get(id(pool))
        if memory is None or (takes := memory.takes(asked.prompt, asked.answer, asked.choices)) <= memory.room:
            return None
        needs, has = takes / GIB, memory.room / GIB
        return "routing.memory_fit", f"needs {needs:.2f} GiB of KV cache for {asked.need} tokens, has {has:.2f} GiB"

    def none_holds(self, weighed: Sequence[Weighed], asked: Asked, note: Mapping[str, Any]) -> Reply:
        """The refusal of a request that no pool takes."""
        allowed = [one.pool for one in weighed if one.reason not in ("routing.tags", "routing.placement")]
        if not allowed:
            return Reply(403, "routing.not_permitted", _NOT_PERMITTED, note=note)
        most = max(self._most(pool) for pool in allowed)
        message = (
            f"No pool holds this request: it needs {asked.need} tokens ({asked.prompt} in the prompt, "
            f"{asked.answer * asked.choices} for the answer) and the largest pool takes {most}. "
            "Shorten the prompt or lower max_tokens."
        )
        return Reply(413, "routing.too_large", message, note=note)

    def _most(self, pool: Pool) -> int:
        limits = [pool.max_tokens] if pool.max_tokens is not None else []
        return min(limits + ([self._memory[id(pool)].most] if id(pool) in self._memory else []))


_NOT_PERMITTED = (
    "No model server that may see this request serves this model. Ask your platform team which model you may use for it."
)
