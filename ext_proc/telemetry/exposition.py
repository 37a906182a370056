"""What Prometheus reads: the workers' samples added up, those of workers that have ended included, and the supervisor's own."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, exposition
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from headrace.ext_proc.telemetry.metrics import FAMILIES, Family
from headrace.ext_proc.telemetry.samples import Sample

Key = tuple[str, tuple[tuple[str, str], ...]]

_SUFFIXES: Final = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
_FAMILY_OF: Final = {family.name + suffix: family for family in FAMILIES for suffix in _SUFFIXES[family.kind]}


class Totals:
    """The counts of workers that have ended: a counter never goes back because a worker did."""

    def __init__(self) -> None:
        self._ended: dict[Key, float] = {}

    def ended(self, samples: Iterable[Sample]) -> None:
        """`samples` are the last words of a worker. Gauges end with it."""
        _add(self._ended, (sample for sample in samples if _kind(sample) != "gauge"))

    def sums(self, living: Iterable[Iterable[Sample]]) -> Mapping[Key, float]:
        """Of every series, by the sample's name and labels."""
        sums = dict(self._ended)
        for samples in living:
            _add(sums, samples)
        return sums

    def text(self, living: Iterable[Iterable[Sample]], accept: str = "") -> tuple[bytes, str]:
        """The exposition and its content type. accept: the HTTP header."""
        sums = self.sums(living)
        encode, content_type = exposition.choose_encoder(accept)
        registry = CollectorRegistry()
        registry.register(_Sums(sums))
        return encode(registry), content_type


def _kind(sample: Sample) -> str:
    family = _FAMILY_OF.get(sample.name)
    return family.kind if family else "gauge"


def _add(sums: dict[Key, float], samples: Iterable[Sample]) -> None:
    for sample in samples:
        key = (sample.name, tuple((name, value) for name, value in sample.labels))
        sums[key] = sums.get(key, 0.0) + sample.value


class _Sums(Collector):
    def __init__(self, sums: Mapping[Key, float]) -> None:
        self._sums = sums

    def collect(self) -> Iterator[Metric]:
        metrics = {family.name: _metric(family) for family in FAMILIES}
        for (name, labels), value in self._sums.items():
            if (family := _FAMILY_OF.get(name)) is not None:
                metrics[family.name].add_sample(name, dict(labels), value)
        return iter(metrics.values())


def _metric(family: Family) -> Metric:
    return Metric(family.name, family.help, family.kind)
