"""The JSON Schema says of a document what the compiler says."""

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from headrace.ext_proc.engine.policy.lines import parse
from headrace.ext_proc.engine.policy.schema import policy_schema
from headrace.ext_proc.engine.registry import Registry, settings_by_name
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


# What the schema says it is, and what editors take every schema for.
READERS = (jsonschema.Draft202012Validator, jsonschema.Draft7Validator)


def accepts(text: str) -> bool:
    """Whoever reads the schema agrees."""
    value = parse(text.encode(), "p.yaml").value
    (said,) = {bool(reader(SCHEMA).is_valid(value)) for reader in READERS}
    return said


@pytest.mark.parametrize("reader", READERS)
def test_it_is_a_schema(reader: Any) -> None:
    reader.check_schema(SCHEMA)


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


# As it is shipped, with the settings of the real filters.
SHIPPED: Mapping[str, Any] = policy_schema(settings_by_name(Registry.installed()))


def objects(node: Any) -> Iterator[Mapping[str, Any]]:
    """Every schema in `node`, itself included."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from objects(child)


def members() -> Iterator[tuple[str, Mapping[str, Any]]]:
    for node in objects(SHIPPED):
        properties = node.get("properties")
        if isinstance(properties, dict):
            yield from properties.items()


def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = SHIPPED["$defs"][node["$ref"].rsplit("/", 1)[-1]] if "$ref" in node else node
    return found


def test_every_member_says_what_it_is_when_the_pointer_rests_on_it() -> None:
    assert [name for name, node in members() if not (node.get("description") or resolved(node).get("description"))] == []


@pytest.mark.parametrize(
    ("part", "member", "words"),
    [
        ("Upstream", "metrics", {"vllm", "sglang", "tensorrt-llm", "llama.cpp"}),
        ("Budget", "per", {"organisation", "team", "app", "user", "key", "model"}),
        ("Budget", "window", {"minute", "hour", "day", "week", "month"}),
        ("Model", "tokenizer", {"cl100k_base", "o200k_base", "o200k_harmony", "qwen3.5"}),
        ("BudgetSettings", "mode", {"enforce", "shadow", "off"}),
        ("BudgetSettings", "on_store_down", {"closed", "open", "local"}),
        ("PiiSettings", "request", {"replace", "redact", "mask", "hash", "block", "report", "off"}),
    ],
)
def test_an_editor_completes_the_words_of_a_member(part: str, member: str, words: set[str]) -> None:
    listed = [set(node["enum"]) for node in objects(SHIPPED["$defs"][part]["properties"][member]) if "enum" in node]
    assert words in listed


def test_an_editor_completes_the_filters_and_their_settings_in_overrides() -> None:
    chain = SHIPPED["properties"]["filters"]["items"]["oneOf"]
    names = {name for entry in chain for name in entry["properties"]}
    assert names == set(SHIPPED["$defs"]["Override"]["properties"]["set"]["properties"]) == set(Registry.installed().names)
