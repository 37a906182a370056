"""The JSON Schema says of a document what the compiler says."""

import jsonschema  # type: ignore[import-untyped]
import pytest

from headrace.ext_proc.engine.policy.lines import parse
from headrace.ext_proc.engine.policy.schema import policy_schema
from headrace.ext_proc.engine.registry import settings_by_name
from tests.engine.policy.support import Workbench, registry
from tests.engine.policy.test_problems import CHANGES, GOOD

SCHEMA = policy_schema(settings_by_name(registry()))
# Mistakes that no one value shows: they need a second place, a file, a filter's constructor, or arithmetic.
BEYOND = (
    "cannot read", "the port of", "must be at most the context", "there is no upstream", "never reached", "already",
    "no filter acts on it", "there is nothing to route to", "there is no entity", "cannot be built", "floor must be",
    "who calls is not known", "a limit on concurrency", "window is missing", "no time zone", "is no day",
    "no source under identity",
)  # fmt: skip


def accepts(text: str) -> bool:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    return bool(validator.is_valid(parse(text.encode(), "p.yaml").value))


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_it_accepts_a_policy_without_problems() -> None:
    assert accepts(GOOD)


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES)
def test_it_refuses_what_the_compiler_refuses_for_one_value(old: str, new: str, expected: list[str]) -> None:
    if old == "- budget: {}" and "budgt" in new:
        expected = expected[1:]
    plain = [problem for problem in expected if not any(part in problem for part in BEYOND)]
    assert accepts(GOOD.replace(old, new, 1)) == (not plain)


ACCEPTED = [
    "models: [{name: a, price: auto}]",
    "models: [{name: a, price: {input: 0, output: 0.5, cached_input: null}}]",
    "models: [{name: 'a*', context: null, pools: []}]",
    "identity: [{jwt: {jwks: 'https://idp/keys', audience: [a, b], claims: {team: groups.0}}}]\nfilters: [{identity: {}}]",
    "budgets: [{name: a, per: [model], limit: {requests: 5}, window: {sliding: 60}}]\nfilters: [{budget: {}}]",
    "filters: [{pii: {threshold: 1, entities: [A]}}]",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_both_accept_what_is_right(bench: Workbench, text: str) -> None:
    (bench.directory / "https:").mkdir()
    document = f"version: 1\n{text}\n"
    bench.compile(document)
    assert accepts(document)


@pytest.mark.parametrize("name", ["PolicyDocument", *SCHEMA["$defs"]])
def test_every_part_says_what_it_is(name: str) -> None:
    node = SCHEMA if name == "PolicyDocument" else SCHEMA["$defs"][name]
    if name not in ("PiiSettings", "JsonValue"):
        assert node["description"]
