"""Random messages of our own protobuf subset, and the same messages in envoy-data-plane's classes."""

import warnings
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its generated code has not followed a pydantic spelling
    from envoy_data_plane.envoy.config.core import v3 as core
    from envoy_data_plane.envoy.data.accesslog import v3 as log_data
    from envoy_data_plane.envoy.service.accesslog import v3 as accesslog
    from envoy_data_plane.envoy.service.ext_proc import v3 as ext_proc
    from envoy_data_plane.envoy.type.v3 import StatusCode
    from envoy_data_plane.google.protobuf import Struct as EnvoyStruct

__all__ = ["EnvoyStruct", "accesslog", "as_json", "core", "ext_proc", "log_data", "messages"]

DEPTH = 6
TEXT = st.text(max_size=8)
STRUCTS = st.dictionaries(TEXT, st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXT, max_size=3)
SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_UINT32: st.integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: st.integers(0, 2**64 - 1),
}
KNOWN: dict[str, st.SearchStrategy[Message]] = {
    "google.protobuf.Struct": STRUCTS.map(lambda members: ParseDict(members, Struct())),
    "google.protobuf.Duration": st.integers(0, 10**9).map(lambda seconds: Duration(seconds=seconds, nanos=1000)),
    "google.protobuf.Timestamp": st.integers(0, 10**9).map(lambda seconds: Timestamp(seconds=seconds)),
}
# In Envoy an enum of status codes; any other number has no name there.
STATUS = "headrace.ext_proc.v1.HttpStatus"


def messages(kind: type[Message]) -> st.SearchStrategy[Message]:
    """Messages of a generated class with any of its fields set, at any depth."""
    descriptor: Any = kind.DESCRIPTOR
    return _of(descriptor, DEPTH)


def _of(descriptor: Descriptor, depth: int) -> st.SearchStrategy[Message]:
    if descriptor.full_name in KNOWN:
        return KNOWN[descriptor.full_name]
    kind = GetMessageClass(descriptor)
    if descriptor.full_name == STATUS:
        return st.sampled_from([200, 401, 403, 413, 429, 503]).map(lambda code: kind(code=code))
    fields = {field.name: _field(field, depth - 1) for field in descriptor.fields if depth or field.message_type is None}
    together: set[str] = {field.name for group in descriptor.oneofs for field in group.fields}
    free = st.fixed_dictionaries({}, optional={name: field for name, field in fields.items() if name not in together})
    one = [st.fixed_dictionaries({name: field}) for name, field in fields.items() if name in together]
    chosen = st.one_of(st.just({}), *one)
    return st.builds(lambda members, choice: kind(**members, **choice), free, chosen)


def _field(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    entry = field.message_type
    if entry is not None and entry.GetOptions().map_entry:
        return st.dictionaries(TEXT, _single(entry.fields_by_name["value"], depth), max_size=2)
    return st.lists(_single(field, depth), max_size=2) if field.is_repeated else _single(field, depth)


def _single(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return _of(field.message_type, depth)
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return SCALARS[field.type]


def as_json(message: Any) -> Any:
    """A message of either library in protobuf's JSON form; an unset field and an empty one are alike."""
    document = MessageToDict(message) if isinstance(message, Message) else message.to_dict()
    return _plain(document)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        members = {name: _plain(member) for name, member in value.items()}
        return {name: _code(member) if name == "code" else member for name, member in members.items() if member != {}}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _code(code: Any) -> Any:
    """Envoy's name for a status code, as its number."""
    return StatusCode[code].value if isinstance(code, str) else code
