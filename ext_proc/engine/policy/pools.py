"""Where a model is served: pools, and the GPUs of a pool."""

from typing import Annotated, Literal

from pydantic import Field

from headrace.ext_proc.engine.policy.part import Part
from headrace.ext_proc.engine.policy.values import Name, Tokens

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
