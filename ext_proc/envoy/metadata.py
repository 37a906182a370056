"""The dynamic metadata that an answer gives to Envoy, under the namespace `headrace`: strings and numbers by name."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

from google.protobuf.struct_pb2 import Struct, Value

from headrace.ext_proc.core.verdict import Metadata
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb

NAMESPACE = "headrace"


def put(struct: Struct, metadata: Metadata) -> None:
    """Into an answer that has other metadata, too."""
    fields = struct.fields[NAMESPACE].struct_value.fields
    for name, value in metadata.items():
        _set(fields[name], value)


def written(metadata: Metadata) -> bytes:
    """An answer with nothing but this metadata, in bytes. On the event loop alone."""
    return _form(tuple(metadata)).filled(metadata.values())


class _Form:
    """An answer with metadata of these names, filled in over and over: protobuf takes longer to find a member than to set it."""

    def __init__(self, names: Sequence[str]) -> None:
        self._answer = pb.ProcessingResponse()
        fields = self._answer.dynamic_metadata.fields[NAMESPACE].struct_value.fields
        self._members = [fields[name] for name in names]

    def filled(self, values: Iterable[str | int | float]) -> bytes:
        for member, value in zip(self._members, values, strict=True):
            _set(member, value)
        return self._answer.SerializeToString()


_form = lru_cache(64)(_Form)


def _set(member: Value, value: str | int | float) -> None:
    if isinstance(value, str):
        member.string_value = value
    else:
        member.number_value = value
