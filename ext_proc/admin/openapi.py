"""The OpenAPI 3.1 document of a table of operations."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from headrace.ext_proc.admin.errors import STATUS, Code, ErrorBody
from headrace.ext_proc.admin.operation import Operation

API_VERSION = "1.0.0"
REF = "#/components/schemas/{model}"
SECURITY = "token"
DESCRIPTION = (
    "Keys, budgets, usage and the audit trail of a running Headrace. Every operation needs a token, made with "
    "`headrace admin token create`; a role also allows what viewers may. Answers that are no success have an `error` "
    "with a `code` that does not change. Nothing may be cached."
)
EVERY: Sequence[Code] = (
    "api.off", "request.invalid", "auth.missing", "auth.invalid", "auth.expired", "auth.forbidden", "internal", "store.unavailable",
)  # fmt: skip
WITH_BODY: Sequence[Code] = ("request.too_large", "request.media_type")
_PARAMETER = re.compile(r"{(\w+)}")


def document(operations: Sequence[Operation[Any, Any]]) -> Mapping[str, Any]:
    """As it is served, and as docs/openapi.json has it."""
    schemas, names = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _page(operation, schemas, names)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Headrace admin API", "version": API_VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/api/v1"}],
        "security": [{SECURITY: []}],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in sorted(schemas.items()) if name not in _queries(operations)},
            "securitySchemes": {SECURITY: {"type": "http", "scheme": "bearer", "bearerFormat": "hra-…"}},
        },
    }


Schemas = Mapping[str, Mapping[str, Any]]
Names = Mapping[tuple[type[BaseModel], JsonSchemaMode], Mapping[str, Any]]


def _schemas(operations: Sequence[Operation[Any, Any]]) -> tuple[Schemas, Names]:
    """Of every model by name, and how each is referred to."""
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ErrorBody, "serialization"): None}
    for operation in operations:
        models[operation.answer, "serialization"] = None
        models.update(dict.fromkeys((model, "validation") for model in (operation.query, operation.body) if model))
    names, top = models_json_schema(list(models), ref_template=REF)
    return top.get("$defs", {}), {(model, mode): names[model, mode] for model, mode in models}


def _queries(operations: Sequence[Operation[Any, Any]]) -> set[str]:
    return {operation.query.__name__ for operation in operations}


def _page(operation: Operation[Any, Any], schemas: Schemas, names: Names) -> Mapping[str, Any]:
    page: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "description": f"Role: {operation.role}.",
        "tags": [operation.path.split("/")[1]],
        "parameters": [*_path_parameters(operation), *_query_parameters(schemas[operation.query.__name__])],
        "responses": _responses(operation, names),
    }
    if operation.body is not None:
        page["requestBody"] = {"required": True, "content": _json(names[operation.body, "validation"])}
    return page


def _path_parameters(operation: Operation[Any, Any]) -> Iterator[Mapping[str, Any]]:
    for name in _PARAMETER.findall(operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(schema: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name, given in schema.get("properties", {}).items():
        described = _without_null(given)
        page = {"name": name, "in": "query", "required": name in schema.get("required", ())}
        yield {**page, "description": described.pop("description", ""), "schema": described}


def _without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter that is not given is not null: it is absent."""
    members = {name: value for name, value in schema.items() if name not in ("anyOf", "title") and value is not None}
    kinds = [kind for kind in schema.get("anyOf", ()) if kind != {"type": "null"}]
    return {**members, **(kinds[0] if kinds else {})}


def _responses(operation: Operation[Any, Any], names: Names) -> Mapping[str, Any]:
    answer = {"description": operation.answer.__doc__, "content": _json(names[operation.answer, "serialization"])}
    codes = [*EVERY, *(WITH_BODY if operation.body else ()), *operation.raises]
    refused = {str(status.value): _refusal(status, codes, names) for status in sorted({STATUS[code] for code in codes})}
    return {str(operation.status.value): answer, **refused}


def _refusal(status: int, codes: Sequence[Code], names: Names) -> Mapping[str, Any]:
    said = ", ".join(f"`{code}`" for code in codes if STATUS[code] == status)
    return {"description": said, "content": _json(names[ErrorBody, "serialization"])}


def _json(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"application/json": {"schema": schema}}
