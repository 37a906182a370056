"""What a token takes of a KV cache, and how many fit: against published figures, and by property."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ext_proc.engine.policy.pools import Gpus
from headrace.filters.routing.memory import GIB, Memory, Shape, ShapeError, memory_of, read_shape, shape_of

LLAMA_70B = {
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "hidden_size": 8192,
    "torch_dtype": "bfloat16",
}


def gpus(**members: Any) -> Gpus:
    return Gpus.model_validate({"memory_gib": 80, **members})


ONE = gpus(weights_gib=16, overhead_gib=0)


def per_token(config: Mapping[str, Any], gpus: Gpus = ONE) -> int:
    memory = memory_of(shape_of(config), gpus)
    return memory.grown + memory.kept


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param(LLAMA_70B, 320 * 1024, id="Llama 3.3 70B"),
        pytest.param({**LLAMA_70B, "num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}, 128 * 1024, id="8B"),
        pytest.param({"num_hidden_layers": 32, "num_attention_heads": 32, "hidden_size": 4096}, 512 * 1024, id="no shared heads"),
        pytest.param(
            {"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "dtype": "bfloat16"},
            112 * 1024,
            id="Qwen3 1.7B, whose head size is not hidden/heads",
        ),
        pytest.param(
            {"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64, "torch_dtype": "bfloat16"},
            61 * 576 * 2,
            id="DeepSeek V3, latent",
        ),
    ],
)
def test_a_token_takes_what_is_published_of_the_model(config: Mapping[str, Any], expected: int) -> None:
    assert per_token(config) == expected


def test_heads_are_repeated_where_there_are_fewer_than_gpus() -> None:
    assert per_token(LLAMA_70B, gpus(count=8, weights_gib=140)) == 320 * 1024
    assert per_token(LLAMA_70B, gpus(count=16, weights_gib=140)) == 640 * 1024
    latent = {"num_hidden_layers": 61, "kv_lora_rank": 512, "qk_rope_head_dim": 64}
    assert per_token(latent, gpus(count=8, weights_gib=400)) == 8 * 61 * 576 * 2


def test_a_cache_of_fewer_bits_holds_more() -> None:
    assert per_token(LLAMA_70B, gpus(weights_gib=16, kv_dtype="fp8")) == 160 * 1024


def test_what_is_left_of_the_gpus_is_room() -> None:
    memory = memory_of(shape_of(LLAMA_70B), gpus(count=4, weights_gib=132, utilisation=0.9, overhead_gib=2))
    assert memory.room == int((4 * (80 * 0.9 - 2) - 132) * GIB)
    assert memory.most == memory.room // (320 * 1024 * 16) * 16
    assert memory_of(shape_of(LLAMA_70B), gpus(weights_gib=132)).most == 0


@pytest.mark.parametrize(
    ("more", "full", "sliding"),
    [
        ({"layer_types": ["full_attention", "sliding_attention"] * 40, "sliding_window": 128}, 40, 40),
        ({"layer_types": ["linear_attention"] * 60 + ["full_attention"] * 20}, 20, 0),
        ({"sliding_window": 4096}, 0, 80),
        ({"sliding_window": 4096, "use_sliding_window": False}, 80, 0),
        ({"sliding_window": 1024, "sliding_window_pattern": 6}, 13, 67),
        ({"sliding_window": None}, 80, 0),
    ],
)
def test_layers_with_a_window_are_told_apart(more: Mapping[str, Any], full: int, sliding: int) -> None:
    shape = shape_of({**LLAMA_70B, **more})
    assert (shape.full, shape.sliding) == (full, sliding)


def test_a_window_bounds_what_its_layers_keep() -> None:
    memory = memory_of(shape_of({**LLAMA_70B, "sliding_window": 4096}), ONE)
    assert memory.takes(4096, 0, 1) == memory.takes(1_000_000, 0, 1) == 4096 * 320 * 1024
    assert memory.most >= 1 << 40


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({}, "num_hidden_layers"),
        ({"num_hidden_layers": 2}, "num_attention_heads"),
        ({"num_hidden_layers": 2, "num_attention_heads": 2}, "hidden_size"),
        ({**LLAMA_70B, "torch_dtype": "int3"}, "torch_dtype"),
        ({**LLAMA_70B, "num_key_value_heads": -1}, "num_key_value_heads"),
        ({**LLAMA_70B, "num_hidden_layers": True}, "num_hidden_layers"),
        ({**LLAMA_70B, "layer_types": ["mamba"]}, "layer_types"),
    ],
)
def test_a_config_that_says_too_little_is_refused_by_what_is_missing(config: Mapping[str, Any], missing: str) -> None:
    with pytest.raises(ShapeError, match=missing):
        shape_of(config)


@pytest.mark.parametrize("content", [b"[]", b"{", b'"x"', b'{"x":"\xff"}', b"[" * 50_000])
def test_what_is_no_config_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(ShapeError, match="no JSON"):
        read_shape(path)


def test_the_part_of_a_model_of_several_kinds_that_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "gemma3", "vision_config": {}, "text_config": LLAMA_70B}))
    assert read_shape(path) == shape_of(LLAMA_70B)


MEMORIES = st.builds(
    Memory, st.integers(0, 1 << 40), st.integers(1, 1 << 20), st.integers(0, 1 << 20), st.integers(0, 10_000), st.integers(1, 256)
)


@given(MEMORIES)
def test_the_most_that_fits_fits_and_one_token_more_does_not(memory: Memory) -> None:
    assert memory.takes(memory.most, 0, 1) <= memory.room < memory.takes(memory.most + 1, 0, 1)


@given(MEMORIES, st.integers(1, 10_000), st.integers(1, 10_000), st.integers(1, 16))
def test_more_choices_never_take_less(memory: Memory, prompt: int, answer: int, choices: int) -> None:
    assert memory.takes(prompt, answer, choices) <= memory.takes(prompt, answer, choices + 1)


MEMBERS = st.sampled_from([*LLAMA_70B, "layer_types", "sliding_window", "kv_lora_rank"])


@given(st.dictionaries(MEMBERS, st.none() | st.integers() | st.text()))
def test_any_config_is_read_or_refused(config: dict[str, Any]) -> None:
    try:
        shape = shape_of({**LLAMA_70B, **config})
    except ShapeError:
        return
    assert isinstance(shape, Shape)
