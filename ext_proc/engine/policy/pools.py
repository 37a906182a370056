"""Where a model is served: pools, the GPUs of a pool, and other models that answer for it."""

from typing import Annotated, Literal

from pydantic import Field, Tag

from headrace.ext_proc.engine.policy.part import Part
from headrace.ext_proc.engine.policy.values import Name, Tokens, word_or_mapping

Kind = Literal["small", "large", "code"]
"""Of a request, by what it asks for; and of a model, by what it is good at."""

Weight = Annotated[int, Field(ge=0, le=1_000_000)]

Gib = Annotated[float, Field(gt=0, le=1_000_000)]


class Gpus(Part):
    """The GPUs of one server of a pool: with the model's shape they say how many tokens its KV cache holds."""

    count: int = Field(1, ge=1, le=1024, description="GPUs that share one copy of the model (tensor parallelism).")
    memory_gib: Gib = Field(description="GiB of one GPU.")
    weights_gib: Gib = Field(description="GiB of the model's weights, over all of its GPUs.")
    utilisation: float = Field(
        0.9, gt=0, le=1, description="Share of the memory the server may use (vLLM's --gpu-memory-utilization)."
    )
    overhead_gib: float = Field(1.0, ge=0, le=1_000_000, description="GiB of each GPU for activations and CUDA graphs.")
    kv_dtype: Literal["auto", "fp8", "bf16", "fp16", "fp32"] = Field(
        "auto", description="Of the KV cache (vLLM's --kv-cache-dtype); auto: the model's own."
    )
    block: int = Field(16, ge=1, le=4096, description="Tokens of one block of the KV cache (vLLM's --block-size).")


class Pool(Part):
    """One place a model is served."""

    upstream: Name = Field(description="The name of one of the upstreams.")
    model: Name | None = Field(None, description="What the upstream calls the model; the name the client asked for when absent.")
    max_tokens: Tokens | None = Field(
        None, description="The most tokens, prompt and answer together, this pool holds; no limit when absent."
    )
    gpus: Gpus | None = Field(
        None, description="The GPUs of each of its servers; a request whose KV cache they cannot hold goes elsewhere. Needs shape."
    )
    weight: Weight | None = Field(
        None,
        description="Share of the callers that come here, against the other pools' weights; absent or 0: only where they fall.",
    )


class StandIn(Part):
    """A model that answers for another name."""

    model: Name = Field(description="What the catalogue calls it.")
    suits: Kind | None = Field(None, description="The requests it is best at, by the documented score; absent: any.")
    weight: Weight | None = Field(
        None, description="Share of the callers it answers, against the others' weights; absent or 0: only where they fall."
    )


ServedBy = Annotated[
    Annotated[Name, Tag("word")] | Annotated[StandIn, Tag("mapping")],
    word_or_mapping("must be the name of a model or {model: name, suits: small, weight: 10}"),
]


def stand_in(given: str | StandIn) -> StandIn:
    """The mapping that a bare name stands for."""
    return StandIn.model_validate({"model": given}) if isinstance(given, str) else given
