"""What the plugin reads of a ProcessingResponse, read by Python's protobuf instead.

The message type has the fields that the plugin reads, and no others, with bytes in place of strings: so what one of the two takes
for a message, the other must.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

Field = FieldDescriptorProto
SCALARS = {"bytes": Field.TYPE_BYTES, "bool": Field.TYPE_BOOL, "uint32": Field.TYPE_UINT32, "double": Field.TYPE_DOUBLE}
REPEATED = "repeated "
PACKAGE = "headrace.apisix.tests"

# Message to its fields: number, name, type. The names of a oneof's members are in ONEOFS.
MESSAGES: Mapping[str, Sequence[tuple[int, str, str]]] = {
    "Response": (
        (1, "request_headers", "Part"),
        (2, "response_headers", "Part"),
        (3, "request_body", "Part"),
        (4, "response_body", "Part"),
        (5, "request_trailers", "Nothing"),
        (6, "response_trailers", "Nothing"),
        (7, "refusal", "Immediate"),
        (8, "metadata", "Namespaces"),
        (9, "mode", "Mode"),
    ),
    "Nothing": ((1, "anything", "bytes"),),
    "Part": ((1, "common", "Common"),),
    "Common": ((2, "mutation", "Mutation"), (3, "body", "Body"), (5, "reroute", "bool")),
    "Mutation": ((1, "set", "repeated Option"), (2, "remove", "repeated bytes")),
    "Option": ((1, "header", "Header"),),
    "Header": ((1, "name", "bytes"), (2, "value", "bytes"), (3, "raw", "bytes")),
    "Body": ((1, "body", "bytes"), (2, "clear", "bool"), (3, "streamed", "Streamed")),
    "Streamed": ((1, "body", "bytes"), (2, "ends", "bool")),
    "Immediate": ((1, "status", "Status"), (2, "mutation", "Mutation"), (3, "body", "bytes"), (5, "reason", "bytes")),
    "Status": ((1, "code", "uint32"),),
    "Mode": ((4, "answer", "uint32"),),
    "Namespaces": ((1, "entries", "repeated NamespaceEntry"),),
    "NamespaceEntry": ((1, "key", "bytes"), (2, "value", "Namespace")),
    "Namespace": (
        (1, "null", "uint32"),
        (2, "number", "double"),
        (3, "text", "bytes"),
        (4, "truth", "bool"),
        (5, "members", "Members"),
        (6, "list", "bytes"),
    ),
    "Members": ((1, "entries", "repeated MemberEntry"),),
    "MemberEntry": ((1, "key", "bytes"), (2, "value", "Value")),
    "Value": (
        (1, "null", "uint32"),
        (2, "number", "double"),
        (3, "text", "bytes"),
        (4, "truth", "bool"),
        (5, "struct", "bytes"),
        (6, "list", "bytes"),
    ),
}
ONEOFS: Mapping[str, frozenset[str]] = {
    name: frozenset(field for _, field, _ in MESSAGES[name]) - {"metadata", "mode"}
    for name in ("Response", "Body", "Namespace", "Value")
}


def _described() -> FileDescriptorProto:
    file = FileDescriptorProto(name="oracle.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        described = file.message_type.add(name=name)
        if name in ONEOFS:
            described.oneof_decl.add(name="kind")
        for number, field, kind in fields:
            _add(described.field.add(name=field, number=number), kind, alone=field in ONEOFS.get(name, ()))
    return file


def _add(field: Field, kind: str, *, alone: bool) -> None:
    field.label = Field.LABEL_REPEATED if kind.startswith(REPEATED) else Field.LABEL_OPTIONAL
    kind = kind.removeprefix(REPEATED)
    field.type = SCALARS.get(kind, Field.TYPE_MESSAGE)
    if kind not in SCALARS:
        field.type_name = f".{PACKAGE}.{kind}"
    if alone:
        field.oneof_index = 0


_POOL = DescriptorPool()
_POOL.Add(_described())
Response: Any = GetMessageClass(_POOL.FindMessageTypeByName(f"{PACKAGE}.Response"))

Headers = tuple[Sequence[tuple[bytes, bytes]], Sequence[bytes]]


class Reading(NamedTuple):
    """A response as both sides read it. body: what replaces it, None for nothing; ends: of a streamed one."""

    part: str | None
    headers: Headers
    body: bytes | None = None
    ends: bool | None = None
    reroute: bool = False
    status: int = 0
    reason: bytes = b""
    metadata: Mapping[str, Any] | None = None
    mode: int = 0


def by_python(response: Any) -> Reading:
    """response: of the type above."""
    part, metadata, mode = response.WhichOneof("kind"), _metadata(response), response.mode.answer
    if part == "refusal":
        refusal = response.refusal
        headers = _headers(refusal.mutation)
        return Reading(part, headers, refusal.body, None, False, refusal.status.code, refusal.reason, metadata, mode)
    if part is None or part.endswith("trailers"):
        return Reading(part, ([], []), metadata=metadata, mode=mode)
    common = getattr(response, part).common
    return Reading(part, _headers(common.mutation), *_body(common.body), common.reroute, metadata=metadata, mode=mode)


def _headers(mutation: Any) -> Headers:
    pairs = [(one.header.name.lower(), one.header.raw or one.header.value) for one in mutation.set]
    return pairs, [name.lower() for name in mutation.remove]


def _body(body: Any) -> tuple[bytes | None, bool | None]:
    match body.WhichOneof("kind"):
        case "body":
            return body.body, None
        case "streamed":
            return body.streamed.body, body.streamed.ends
    return None, None


def _metadata(response: Any) -> Mapping[str, Any] | None:
    spaces = {entry.key: entry.value for entry in response.metadata.entries}
    ours = spaces.get(b"headrace")
    if ours is None or ours.WhichOneof("kind") != "members":
        return None
    values = {entry.key.decode("latin-1"): _scalar(entry.value) for entry in ours.members.entries}
    return {name: value for name, value in values.items() if value is not None}


def _scalar(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "text":
            return value.text
        case "number":
            return repr(value.number)
        case "truth":
            return b"true" if value.truth else b"false"
    return None


def by_lua(said: Mapping[str, Any]) -> Reading:
    """said: what ext_proc.lua makes of a response."""
    part = next((name for name in sorted(ONEOFS["Response"]) if name in said), None)
    metadata, mode = _told(said.get("metadata")), int((said.get("mode") or {}).get("answer", 0))
    if part == "refusal":
        refusal = said[part]
        code = int((refusal.get("status") or {}).get("code", 0))
        body, reason = refusal.get("body", b""), refusal.get("reason", b"")
        return Reading(part, _said_headers(refusal), body, None, False, code, reason, metadata, mode)
    common = (said[part] if part else {}).get("common") or {}
    reroute = common.get("reroute", False)
    return Reading(part, _said_headers(common), *_said_body(common.get("body") or {}), reroute, metadata=metadata, mode=mode)


def _said_headers(said: Mapping[str, Any]) -> Headers:
    pairs = [(one["name"], one["value"]) for one in said.get("set") or ()]
    return (pairs, list(said.get("remove") or ())) if "set" in said else ([], [])


def _said_body(body: Mapping[str, Any]) -> tuple[bytes | None, bool | None]:
    if "streamed" in body:
        streamed = body["streamed"] or {}
        return streamed.get("body", b""), streamed.get("ends", False)
    return body.get("body"), None


def _told(metadata: Any) -> Mapping[str, Any] | None:
    if metadata is None:
        return None
    return {name: repr(value) if isinstance(value, float) else value for name, value in dict(metadata).items()}
