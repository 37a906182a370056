"""What inference servers say of themselves: the four metrics that a choice needs, by the names each engine gives them.

Sources: vLLM docs/design/metrics.md (V1; `gpu_cache_usage_perc` is V0's name) and vllm:cache_config_info; SGLang
docs/references/production_metrics.md; TensorRT-LLM's Triton backend, README "Triton Metrics"; llama.cpp tools/server/README.md
"GET /metrics" (its builds since 2025 have no cache usage).
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, NamedTuple

from msgspec import Struct

Engine = Literal["vllm", "sglang", "tensorrt-llm", "llama.cpp"]


class Snapshot(Struct, frozen=True):
    """One server at one moment. cache: the part of its KV cache in use, 0 to 1; capacity: the cache in tokens; None: not said."""

    running: int
    waiting: int
    cache: float | None = None
    capacity: int | None = None


class Source(NamedTuple):
    """A sample: its name and the labels it must have; `label` takes the value of a label instead of the sample's own."""

    name: str
    labels: Mapping[str, str] = {}
    label: str = ""


class Names(NamedTuple):
    """Where an engine says what; of several sources the first that is there counts. capacity: the product of all of its sources."""

    running: tuple[Source, ...]
    waiting: tuple[Source, ...]
    cache: tuple[Source, ...]
    capacity: tuple[Source, ...]


_TRT_REQUESTS: Final = "nv_trt_llm_request_metrics"
_TRT_CACHE: Final = "nv_trt_llm_kv_cache_block_metrics"

NAMES: Final[Mapping[Engine, Names]] = {
    "vllm": Names(
        running=(Source("vllm:num_requests_running"),),
        waiting=(Source("vllm:num_requests_waiting"),),
        cache=(Source("vllm:kv_cache_usage_perc"), Source("vllm:gpu_cache_usage_perc")),
        capacity=(
            Source("vllm:cache_config_info", label="num_gpu_blocks"),
            Source("vllm:cache_config_info", label="block_size"),
        ),
    ),
    "sglang": Names(
        running=(Source("sglang:num_running_reqs"),),
        waiting=(Source("sglang:num_queue_reqs"),),
        cache=(Source("sglang:token_usage"),),
        capacity=(Source("sglang:max_total_num_tokens"),),
    ),
    "tensorrt-llm": Names(
        running=(Source(_TRT_REQUESTS, {"request_type": "active"}),),
        waiting=(Source(_TRT_REQUESTS, {"request_type": "waiting"}),),
        cache=(Source(_TRT_CACHE, {"kv_cache_block_type": "fraction"}),),
        capacity=(
            Source(_TRT_CACHE, {"kv_cache_block_type": "max"}),
            Source(_TRT_CACHE, {"kv_cache_block_type": "tokens_per"}),
        ),
    ),
    "llama.cpp": Names(
        running=(Source("llamacpp:requests_processing"),),
        waiting=(Source("llamacpp:requests_deferred"),),
        cache=(Source("llamacpp:kv_cache_usage_ratio"),),
        capacity=(),
    ),
}


MOST_DIGITS: Final = 15
"""Of a number in a label; those of more are no sizes of a cache, and from 309 on no numbers that floats have."""


class MetricsError(ValueError):
    """The text is no exposition of this engine's metrics."""


def snapshot(text: str, engine: Engine) -> Snapshot:
    """The server's state in its own exposition; several models or workers on one port are summed up, their fullest cache counts.

    Raises MetricsError where the queue is not said, or the text is no exposition.
    """
    names = NAMES[engine]
    try:
        samples = _samples(text, names)
    except ValueError as error:
        raise MetricsError(f"no metrics of {engine}: {error}") from None
    running, waiting = _first(samples, names.running), _first(samples, names.waiting)
    if not running or not waiting:
        raise MetricsError(f"no metrics of {engine}: {names.running[0].name} and {names.waiting[0].name} are wanted")
    cache = _first(samples, names.cache)
    return Snapshot(_count(running), _count(waiting), min(max(cache), 1.0) if cache else None, _capacity(samples, names))


_Sample = tuple[str, Mapping[str, str], float]


def _samples(text: str, names: Names) -> list[_Sample]:
    """Those of the wanted names: an exposition has hundreds of lines, most of them histograms, and the parser is slow."""
    from prometheus_client.parser import text_string_to_metric_families  # with a web server, for policies that name metrics

    wanted = tuple({source.name for sources in names for source in sources})
    lines = [line for line in text.splitlines() if line.startswith(wanted)]
    families = text_string_to_metric_families("\n".join(lines) + "\n")
    found: list[_Sample] = [(sample.name, sample.labels, float(sample.value)) for family in families for sample in family.samples]
    if not all(0 <= value < 2**53 for _, _, value in found):  # NaN and infinity are neither
        raise ValueError("a value is no amount")
    return found


def _first(samples: Iterable[_Sample], sources: tuple[Source, ...]) -> list[float]:
    """The values of the first source that has any."""
    listed = list(samples)
    return next((values for source in sources if (values := _values(listed, source))), [])


def _values(samples: list[_Sample], source: Source) -> list[float]:
    found = [(labels, value) for name, labels, value in samples if name == source.name and source.labels.items() <= labels.items()]
    if not source.label:
        return [value for _, value in found]
    said = [labels.get(source.label, "") for labels, _ in found]
    return [float(digits) for digits in said if digits.isdecimal() and len(digits) <= MOST_DIGITS]


def _count(values: list[float]) -> int:
    return int(sum(values))


def _capacity(samples: list[_Sample], names: Names) -> int | None:
    factors = [_values(samples, source) for source in names.capacity]
    if not factors or not all(factors):
        return None
    product = 1
    for values in factors:
        product *= int(min(values))
    return product or None
