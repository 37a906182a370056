"""The OpenAPI document agrees with what is served: its routes, what they take and what they answer."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pydantic import BaseModel
from starlette.routing import Route

from headrace.ext_proc.admin import app
from headrace.ext_proc.admin.errors import STATUS
from headrace.ext_proc.admin.openapi import document
from headrace.ext_proc.admin.operation import Site
from headrace.ext_proc.admin.operations import OPERATIONS
from headrace.ext_proc.admin.tokens import Role
from headrace.ext_proc.cli.admin import openapi_text
from headrace.ext_proc.stores.memory import MemoryStore
from tests.admin.conftest import Api

LONG = bool(os.environ.get("HEADRACE_LONG"))
DOCUMENT: Mapping[str, Any] = document(OPERATIONS)
PAGES = [(method, path, page) for path, item in DOCUMENT["paths"].items() for method, page in item.items()]


def resolved(reference: str) -> Any:
    found: Any = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    return Draft202012Validator({**schema, "components": DOCUMENT["components"]})


def check_answer(page: Mapping[str, Any], status: int, answer: Any) -> None:
    """The document says that this may be answered."""
    assert str(status) in page["responses"], (page["operationId"], status, answer)
    response = page["responses"][str(status)]
    validator(response["content"]["application/json"]["schema"]).validate(answer)
    if status >= 400:
        assert f"`{answer['error']['code']}`" in response["description"]


def test_the_tracked_document_is_the_one_that_is_served() -> None:
    tracked = (Path(__file__).parents[2] / "docs" / "openapi.json").read_text("utf-8")
    assert tracked == openapi_text(), "write it anew: headrace admin openapi > docs/openapi.json"


async def test_it_is_served_to_anybody(on: Api) -> None:
    found = await on.client.get("/openapi.json")
    assert found.json() == json.loads(openapi_text())


def test_every_route_is_in_it_and_nothing_else(tmp_path: Path) -> None:
    routes = app._routes(Site(MemoryStore(), tmp_path))
    served = {(method.lower(), route.path) for route in routes if isinstance(route, Route) for method in route.methods or ()}
    assert {one for one in served if one[0] != "head"} - {("get", "/openapi.json")} == {(method, path) for method, path, _ in PAGES}


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(DOCUMENT)):
        Draft202012Validator.check_schema(resolved(reference))
    used = set(re.findall(r"#/components/schemas/(\w+)", json.dumps(DOCUMENT)))
    assert used == set(DOCUMENT["components"]["schemas"])


def test_operations_are_named_once_and_say_whom_they_are_for() -> None:
    names = [page["operationId"] for _, _, page in PAGES]
    assert len(set(names)) == len(names)
    for operation in OPERATIONS:
        page = DOCUMENT["paths"][operation.path][operation.method.lower()]
        assert page["description"] == f"Role: {operation.role.value}."
        assert {name for name, model in (("requestBody", operation.body),) if model} == page.keys() & {"requestBody"}


def test_every_code_has_its_place() -> None:
    responses = [response for _, _, page in PAGES for response in page["responses"].values()]
    said = {code for response in responses for code in re.findall(r"`([a-z_.]+)`", response["description"])}
    assert said == set(STATUS) - {"method_not_allowed"}


def test_every_member_that_is_taken_is_in_it() -> None:
    for operation in OPERATIONS:
        page = DOCUMENT["paths"][operation.path][operation.method.lower()]
        assert named(page, "query") == members(operation.query)
        assert named(page, "path") == set(re.findall(r"{(\w+)}", operation.path))


def named(page: Mapping[str, Any], place: str) -> set[str]:
    return {parameter["name"] for parameter in page["parameters"] if parameter["in"] == place}


def members(model: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}


# --- what is answered, whatever is asked -----------------------------------------------------------------------------------

NAMES = st.sampled_from(["research", "ada", "team-month", "user-day", "busy", "acme", "gpt-*"])
TEXTS = NAMES | st.text(max_size=20)
MOMENTS = st.sampled_from(["2026-06-01T12:00:00Z", "2026-06-02T00:00:00+02:00", "2030-01-01T00:00:00.5Z", "9999-12-31T23:59:59Z"])


def of_schema(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    """What fits a schema of the document, or nearly: formats and patterns are left to chance and to examples."""
    if "$ref" in schema:
        return of_schema(resolved(schema["$ref"]))
    if "anyOf" in schema:
        return st.one_of([of_schema(one) for one in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            return of_object(schema)
        case "array":
            return st.lists(of_schema(schema["items"]), max_size=3)
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "string":
            return of_text(schema)
    raise AssertionError(f"a schema the test does not know: {schema}")


def of_object(schema: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    known = {name: of_schema(one) for name, one in schema.get("properties", {}).items()}
    needed = set(schema.get("required", ()))
    optional = {name: strategy for name, strategy in known.items() if name not in needed}
    return st.fixed_dictionaries({name: known[name] for name in sorted(needed)}, optional=optional)


def of_text(schema: Mapping[str, Any]) -> st.SearchStrategy[str]:
    if schema.get("format") == "date-time":
        return MOMENTS
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True).filter(str.isascii)
    return TEXTS


JUNK: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, str, Mapping[str, Any], dict[str, Any], Any, str]:
    """method, path, its page, query, body, and whose token."""
    method, path, page = draw(st.sampled_from(PAGES))
    parameters = {parameter["name"]: parameter["schema"] for parameter in page["parameters"] if parameter["in"] == "query"}
    query = draw(st.fixed_dictionaries({}, optional={name: of_schema(schema) for name, schema in parameters.items()}))
    body = None
    if "requestBody" in page:
        fitting = of_schema(page["requestBody"]["content"]["application/json"]["schema"])
        body = draw(st.one_of(fitting, fitting, JUNK))
    return method, path, page, query, body, draw(st.sampled_from(["operator", "operator", "approver", "viewer"]))


@settings(max_examples=3000 if LONG else 60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(calls(), min_size=3, max_size=8))
async def test_whatever_is_asked_the_answer_is_one_the_document_knows(on: Api, asked: list[Any]) -> None:
    """Calls in a row, so that later ones find what earlier ones made: ids in paths are of those, where there are any."""
    on.store, ids = MemoryStore(), ["none"]
    fresh = Api(on.store, on.policy)
    for method, path, page, query, body, who in asked:
        url = path.replace("{id}", ids[-1]).replace("{name}", "team-month")
        content = None if "requestBody" not in page else json.dumps(body)
        headers = {**await fresh.as_(who, Role(who)), "content-type": "application/json"}
        found = await fresh.client.request(method.upper(), url, params=query, content=content, headers=headers)
        assert found.status_code != 500
        answer = found.json()
        check_answer(page, found.status_code, answer)
        if found.status_code == 201:
            ids.append(answer.get("id") or answer["key"]["id"])


@pytest.mark.parametrize("who", ["viewer", "operator", "approver"])
async def test_answers_of_every_reading_are_as_the_document_says(on: Api, who: str) -> None:
    for _ in range(2):
        made = await on.done("/keys", {"team": "research"})
        await on.done("/budgets/team-month/raise", {"amount": "1", "reason": "r", "whom": {"team": "research"}})
    for method, path, page in PAGES:
        if method == "get":
            found = await on.client.get(path.replace("{id}", made["id"]), headers=await on.as_(who))
            assert found.status_code == 200
            check_answer(page, 200, found.json())
