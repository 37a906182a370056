"""How many tokens a server's KV cache holds: arithmetic on the model's config.json and the pool's GPUs.

One token takes, in each layer, a key and a value of `head size` numbers for each KV head; a layer with a sliding window keeps the
window's tokens only; multi-head latent attention keeps one compressed vector instead. Tensor parallelism splits the KV heads over
the GPUs, and repeats them where there are fewer heads than GPUs. vLLM computes the same: vllm/v1/core/kv_cache_utils.py.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.json_body import NO_JSON
from headrace.ext_proc.engine.policy.pools import Gpus

GIB: Final = 1 << 30
BYTES: Final[Mapping[str, int]] = {"fp8": 1, "bf16": 2, "fp16": 2, "fp32": 4, "bfloat16": 2, "float16": 2, "float32": 4}
UNBOUNDED: Final = 1 << 40
"""Tokens; of a model none of whose layers keeps every token."""
_GROWS, _SLIDES, _STAYS = "full_attention", "sliding_attention", "linear_attention"


class ShapeError(HeadraceError):
    """A config.json that does not say what a token takes; the message says what is missing."""


class Shape(msgspec.Struct, frozen=True):
    """A model, as far as its KV cache goes.

    full, sliding: layers that keep every token, and those that keep `window` tokens. numbers: what one KV head keeps of a token in
    one layer, key and value together. heads: KV heads; 1 with `latent`, whose one vector every GPU keeps. dtype: bytes of a number.
    """

    full: int
    sliding: int
    window: int
    heads: int
    numbers: int
    dtype: int
    latent: bool = False


def read_shape(path: Path) -> Shape:
    """Raises OSError for a file that cannot be read, ShapeError for one that says too little."""
    try:
        document = msgspec.json.decode(path.read_bytes())
    except NO_JSON as error:
        raise ShapeError(f"no JSON: {error}") from None
    if not isinstance(document, dict):
        raise ShapeError("no JSON object")
    inner = document.get("text_config")
    return shape_of({**document, **inner} if isinstance(inner, dict) else document)


def shape_of(config: Mapping[str, Any]) -> Shape:
    """Raises ShapeError."""
    full, sliding = _layers(config)
    window, dtype = _count(config, "sliding_window") if sliding else 0, _dtype(config)
    if config.get("kv_lora_rank"):
        numbers = _count(config, "kv_lora_rank") + _count(config, "qk_rope_head_dim")
        return Shape(full, sliding, window, 1, numbers, dtype, latent=True)
    attention = _count(config, "num_attention_heads")
    heads = _count(config, "num_key_value_heads") if config.get("num_key_value_heads") else attention
    size = _count(config, "head_dim") if config.get("head_dim") else _count(config, "hidden_size") // attention
    return Shape(full, sliding, window, heads, 2 * size, dtype)


def _count(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10**9:
        raise ShapeError(f"{name} must be a positive whole number; there is {value!r}")
    return value


def _layers(config: Mapping[str, Any]) -> tuple[int, int]:
    """(layers that keep every token, layers that keep a window)"""
    layers = _count(config, "num_hidden_layers")
    types = config.get("layer_types")
    if isinstance(types, list):
        if unknown := set(map(str, types)) - {_GROWS, _SLIDES, _STAYS}:
            raise ShapeError(f"layer_types: {sorted(unknown)[0]!r} is none of {_GROWS}, {_SLIDES}, {_STAYS}")
        return types.count(_GROWS), types.count(_SLIDES)
    if not config.get("sliding_window") or config.get("use_sliding_window") is False:
        return layers, 0
    pattern = config.get("sliding_window_pattern")
    full = layers // pattern if isinstance(pattern, int) and pattern > 1 else 0
    return full, layers - full


def _dtype(config: Mapping[str, Any]) -> int:
    name = str(config.get("dtype") or config.get("torch_dtype") or "bfloat16").removeprefix("torch.")
    if name not in BYTES:
        raise ShapeError(f"torch_dtype: {name!r} is none of {', '.join(BYTES)}")
    return BYTES[name]


class Memory(msgspec.Struct, frozen=True):
    """The KV cache of one server. room: bytes over all GPUs, never negative; grown, kept: bytes of one token in all layers that
    keep every token, and in all that keep a window.
    """

    room: int
    grown: int
    kept: int
    window: int
    block: int

    def takes(self, prompt: int, answer: int, choices: int) -> int:
        """Bytes, in whole blocks: a prompt once, and an answer for each choice."""
        sequences = [prompt, *[answer] * choices] if choices > 1 else [prompt + answer]
        return sum(self._bytes(tokens) for tokens in sequences)

    def _bytes(self, tokens: int) -> int:
        rounded = -(-tokens // self.block) * self.block
        return rounded * self.grown + min(rounded, -(-self.window // self.block) * self.block) * self.kept

    @property
    def most(self) -> int:
        """Tokens of the largest single sequence that fits."""
        low, high = 0, self.room // self.grown if self.grown else UNBOUNDED
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._bytes(middle) <= self.room else (low, middle - 1)
        return low


def memory_of(shape: Shape, gpus: Gpus) -> Memory:
    """What is left of the GPUs for the KV cache, and what a token takes of it, over all of them."""
    room = gpus.count * (gpus.memory_gib * gpus.utilisation - gpus.overhead_gib) - gpus.weights_gib
    heads = gpus.count if shape.latent else max(shape.heads, gpus.count)
    dtype = shape.dtype if gpus.kv_dtype == "auto" else BYTES[gpus.kv_dtype]
    each = heads * shape.numbers * dtype
    return Memory(max(0, int(room * GIB)), shape.full * each, shape.sliding * each, shape.window, gpus.block)
