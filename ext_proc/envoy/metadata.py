"""The dynamic metadata that an answer gives to Envoy, under the namespace `headrace`: strings and numbers by name."""

from google.protobuf.struct_pb2 import Struct

from headrace.ext_proc.core.verdict import Metadata
from headrace.ext_proc.envoy.pb import headrace_ext_proc_pb2 as pb

NAMESPACE = "headrace"


def put(struct: Struct, metadata: Metadata) -> None:
    """Into an answer that has other metadata, too."""
    fields = struct.fields[NAMESPACE].struct_value.fields
    for name, value in metadata.items():
        if isinstance(value, str):
            fields[name].string_value = value
        else:
            fields[name].number_value = value


def written(metadata: Metadata) -> bytes:
    """An answer with nothing but this metadata, in bytes.

    A new message each time: one that is kept and set anew keeps all that it was ever set to, until it is freed.
    """
    answer = pb.ProcessingResponse()
    put(answer.dynamic_metadata, metadata)
    return answer.SerializeToString()
