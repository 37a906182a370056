"""`headrace apisix doctor`: a good configuration has no findings, and every rule finds its own fault in it, at its line."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from headrace.ext_proc.apisix.doctor import RULES, Finding, examine
from headrace.ext_proc.apisix.kinds import RouteKind
from headrace.ext_proc.apisix.render import render_config, render_standalone
from headrace.ext_proc.apisix.settings import ApisixError, ApisixSettings, servers_of
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.config.yaml import dump

NEWEST = (3, 18)
Tree = Any
Change = Callable[[Tree, Tree], Any]


def rendered(kind: RouteKind = RouteKind.AI_PROXY, *, request_only: bool = False) -> dict[str, str]:
    """config.yaml and apisix.yaml as `headrace apisix config` writes them."""
    servers = servers_of({"standard": "http://10.0.0.7:8000", "high-memory": "https://models.example"})
    made = ApisixSettings((Address(path="/run/headrace/worker.sock"),), servers, kind, request_only=request_only)
    return {"config.yaml": render_config(made), "apisix.yaml": render_standalone(made)}


def changed(texts: Mapping[str, str], change: Change) -> dict[str, str]:
    trees = {name: YAML().load(text) for name, text in texts.items()}
    change(trees["config.yaml"], trees["apisix.yaml"])
    return {name: dump(tree) + ("#END\n" if name == "apisix.yaml" else "") for name, tree in trees.items()}


def found(texts: Mapping[str, str], version: tuple[int, int] = NEWEST) -> list[Finding]:
    return list(examine(texts, version))


def plugin(tree: Tree) -> Tree:
    return tree["routes"][0]["plugins"]["headrace"]


def proxy(tree: Tree) -> Tree:
    return tree["routes"][0]["plugins"]["ai-proxy-multi"]


def rest(tree: Tree) -> Tree:
    return tree["routes"][1]["plugins"]


def without_plugin(_: Tree, tree: Tree) -> None:
    for route in tree["routes"]:
        del route["plugins"]["headrace"]
    del tree["routes"][0]


FAULTS: dict[str, tuple[Change, str, str]] = {
    "no lua path": (lambda config, _: config["apisix"].pop("extra_lua_path"), "lua-path", "config.yaml"),
    "an empty lua path": (lambda config, _: config["apisix"].update(extra_lua_path=""), "lua-path", "config.yaml"),
    "not in the list": (lambda config, _: config["plugins"].remove("headrace"), "plugin-list", "config.yaml"),
    "no list": (lambda config, _: config.pop("plugins"), "plugin-list", "config.yaml"),
    "others not in the list": (lambda config, _: config["plugins"].remove("ai-proxy-multi"), "plugins-replaced", "config.yaml"),
    "an ai-proxy that is not loaded": (lambda config, _: config["plugins"].remove("prometheus"), "prometheus", "config.yaml"),
    "a small limit": (
        lambda config, _: config["nginx_config"].update(http={"client_max_body_size": "1m"}),
        "body-limit",
        "config.yaml",
    ),
    "nowhere": (without_plugin, "nowhere", "apisix.yaml"),
    "a global rule": (
        lambda _, tree: tree.update(global_rules=[{"id": "1", "plugins": {"headrace": {"service": ["unix:/w"]}}}]),
        "global-rule",
        "apisix.yaml",
    ),
    "no service": (lambda _, tree: plugin(tree).pop("service"), "service", "apisix.yaml"),
    "a service elsewhere": (lambda _, tree: plugin(tree).update(service=["10.0.0.1:9470"]), "service", "apisix.yaml"),
    "a service that is no address": (lambda _, tree: plugin(tree).update(service=["nowhere"]), "service", "apisix.yaml"),
    "a misspelt setting": (lambda _, tree: plugin(tree).update(servise=[]), "setting", "apisix.yaml"),
    "a misspelt direction": (
        lambda _, tree: plugin(tree).update(failure_mode_allow={"requests": False}),
        "setting",
        "apisix.yaml",
    ),
    "open to requests": (lambda _, tree: plugin(tree).update(failure_mode_allow={"request": True}), "fail-open", "apisix.yaml"),
    "open to answers": (lambda _, tree: plugin(tree).update(failure_mode_allow={"response": True}), "fail-open", "apisix.yaml"),
    "turned off": (lambda _, tree: plugin(tree).update(_meta={"disable": True}), "meta", "apisix.yaml"),
    "filtered": (lambda _, tree: plugin(tree).update(_meta={"filter": [["arg_a", "==", "1"]]}), "meta", "apisix.yaml"),
    "before ai-proxy": (lambda _, tree: plugin(tree).update(_meta={"priority": 2000}), "priority", "apisix.yaml"),
    "behind ai-rate-limiting": (lambda _, tree: plugin(tree).update(_meta={"priority": 10}), "priority", "apisix.yaml"),
    "a route that does not ask": (lambda _, tree: tree["routes"][0]["plugins"].pop("headrace"), "unasked", "apisix.yaml"),
    "a cache": (
        lambda config, tree: (tree["routes"][0]["plugins"].update({"ai-cache": {}}), config["plugins"].append("ai-cache")),
        "ai-cache",
        "apisix.yaml",
    ),
    "documents that come later": (
        lambda config, tree: (tree["routes"][0]["plugins"].update({"ai-rag": {"a": 1}}), config["plugins"].append("ai-rag")),
        "order",
        "apisix.yaml",
    ),
    "streams held back": (lambda _, tree: rest(tree)["headrace"].update(request_only=True), "buffering", "apisix.yaml"),
    "a smaller limit on the route": (lambda _, tree: proxy(tree).update(max_req_body_size=1000), "route-body-limit", "apisix.yaml"),
    "a route to no upstream": (
        lambda _, tree: rest(tree)["headrace"].update(routes={"standard": {"upstream_id": "7"}}),
        "target",
        "apisix.yaml",
    ),
    "a route to no instance": (
        lambda _, tree: plugin(tree).update(routes={"standard": {"instance": "x"}}),
        "target",
        "apisix.yaml",
    ),
}


@pytest.mark.parametrize("request_only", [False, True])
@pytest.mark.parametrize("kind", RouteKind)
def test_what_config_writes_has_no_findings(kind: RouteKind, request_only: bool) -> None:
    texts = rendered(kind, request_only=request_only)
    if request_only:
        texts["config.yaml"] = texts["config.yaml"].replace("  - headrace\n", "  - headrace\n  - proxy-buffering\n")
    assert found(texts) == []


@pytest.mark.parametrize(("change", "rule", "file"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_found_at_its_line_by_one_rule(change: Change, rule: str, file: str) -> None:
    (finding,) = found(changed(rendered(), change))
    assert (finding.rule, finding.file) == (rule, file)
    assert finding.line > 0 or rule == "nowhere"
    assert finding.what and finding.mend


def test_a_limit_of_the_plugin_is_the_one_that_counts() -> None:
    def lower(config: Tree, tree: Tree) -> None:
        config["nginx_config"]["http"] = {"client_max_body_size": "1m"}
        for route in tree["routes"]:
            route["plugins"]["headrace"]["max_body_bytes"] = 1024 * 1024

    assert found(changed(rendered(), lower)) == []


def test_apisix_below_3_14_gives_no_answers_of_ai_proxy() -> None:
    assert [finding.rule for finding in found(rendered(), (3, 13))] == ["version"]
    assert found(rendered(request_only=True), (3, 13)) != []  # proxy-buffering is not in the list
    assert found(rendered(RouteKind.PLAIN), (3, 13)) == []


@pytest.mark.parametrize(("version", "rules"), [((3, 14), ["flush"]), ((3, 15), ["flush"]), ((3, 16), []), ((4, 0), [])])
def test_pieces_are_flushed_from_3_16_on(version: tuple[int, int], rules: list[str]) -> None:
    texts = changed(rendered(), lambda config, _: config["nginx_config"].pop("http_configuration_snippet"))
    assert [finding.rule for finding in found(texts, version)] == rules
    assert found(rendered(), version) == []


def test_a_setting_that_is_a_comment_is_none() -> None:
    texts = rendered()
    texts["config.yaml"] = texts["config.yaml"].replace("    postpone_output 0;", "    # postpone_output 0;")
    assert [finding.rule for finding in found(texts, (3, 15))] == ["flush"]


def test_a_standalone_file_must_end_as_apisix_wants_it() -> None:
    texts = rendered()
    texts["apisix.yaml"] = texts["apisix.yaml"].replace("#END", "")
    assert [finding.rule for finding in found(texts)] == ["end"]


def test_flow_style_is_misread_up_to_3_9() -> None:
    text = "routes:\n  - uri: /v1/*\n    plugins:\n      headrace:\n        service: ['unix:/w']\n#END\n"
    (finding,) = found({"apisix.yaml": text}, (3, 9))
    assert (finding.rule, finding.line) == ("block-style", 5)
    assert found({"apisix.yaml": text}, (3, 10)) == []


def test_plugins_of_a_service_and_of_a_plugin_config_count() -> None:
    def share(_: Tree, tree: Tree) -> None:
        conf = tree["routes"][0]["plugins"].pop("headrace")
        tree["services"] = [{"id": 7, "plugins": {"headrace": conf}}]
        tree["routes"][0]["service_id"] = "7"

    assert found(changed(rendered(), share)) == []


def test_a_route_that_is_off_is_nobodys() -> None:
    def off(_: Tree, tree: Tree) -> None:
        tree["routes"][0]["plugins"].pop("headrace")
        tree["routes"][0]["status"] = 0

    assert found(changed(rendered(), off)) == []


def test_answers_of_the_admin_api_are_read() -> None:
    text = (
        '{"total": 1, "list": [{"key": "/apisix/routes/1", "value":\n'
        '  {"id": "1", "uri": "/v1/*", "plugins": {"ai-proxy": {"provider": "openai"}}}}]}'
    )
    rules = [finding.rule for finding in found({"routes.json": text})]
    assert sorted(rules) == ["nowhere", "unasked"]


@pytest.mark.parametrize("text", ["", "[]", "a: 1", "a: [", "\t{", "static_resources: {}", "list: []", "a: !!python/object:os x"])
def test_what_is_no_configuration_of_apisix_is_said(text: str) -> None:
    with pytest.raises(ApisixError, match=r"^x.yaml"):
        found({"x.yaml": text})


def test_every_rule_has_a_fault_that_it_finds() -> None:
    elsewhere = {"version", "flush", "end", "block-style"}
    assert {rule.name for rule in RULES} == {rule for _, rule, _ in FAULTS.values()} | elsewhere


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300 if os.environ.get("HEADRACE_LONG") else 25, deadline=None)
@given(st.data())
def test_no_value_in_any_place_ends_the_examination(data: st.DataObject) -> None:
    """Hostile or careless values become findings, or nothing."""

    def spoil(config: Tree, tree: Tree) -> None:
        places: list[tuple[Any, Any]] = []

        def walk(node: Any) -> None:
            keys = list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
            for key in keys:
                places.append((node, key))
                walk(node[key])

        walk(config)
        walk(tree)
        node, key = data.draw(st.sampled_from(places), label="place")
        node[key] = data.draw(VALUES)

    texts = changed(rendered(), spoil)
    try:
        found(texts, data.draw(st.sampled_from([(3, 9), (3, 14), NEWEST])))
    except ApisixError as error:
        assert str(error).startswith(("config.yaml", "apisix.yaml"))
