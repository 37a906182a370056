"""A policy that asks for more than a gateway can do is refused when it is loaded, at the line, with the reason."""

from pathlib import Path

import pytest

from headrace.ext_proc.engine.policy.compile import compile_policy
from headrace.ext_proc.engine.policy.gateways import LACKS, Gateway
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.stores.memory import MemoryStore
from tests.filters.compiled import Inline, ManualClock

BASE = """version: 1
upstreams:
  near: {{url: "http://10.0.0.7:8000"{near}}}
  far: {{url: "http://10.0.0.8:8000"}}
models:
  - {{name: m, price: {{input: 1, output: 1}}, pools: [{{upstream: near, max_tokens: 100{pool}}}, {{upstream: far}}]}}
identity: [{{headers: {{user: x-user}}}}]
budgets: [{{name: day, per: [user], limit: {{tokens: 1000}}, window: day}}]
filters: [{{identity: {{}}}}, {{pii: {pii}}}, {{budget: {budget}}}, {{routing: {routing}}}, {{usage: {usage}}}]
overrides: {overrides}
"""
PLAIN = {"near": "", "pool": "", "pii": "{restore: false}", "budget": "{}", "routing": "{}", "usage": "{}", "overrides": "[]"}

ONE_UPSTREAM = {
    "failover": ({"routing": "{failover: {attempts: 2}}"}, "filters[3].routing.failover"),
    "failover of some": (
        {"overrides": "[{when: {user: a}, set: {routing: {failover: {attempts: 2}}}}]"},
        "overrides[0].set.routing.failover",
    ),
    "servers": ({"near": ', servers: ["10.0.0.7:1"], metrics: vllm'}, "upstreams.near.servers"),
    "credentials": ({"near": ", api_key: {env: HOME}"}, "upstreams.near.api_key"),
    "dialects": ({"near": ", dialect: openai"}, "upstreams.near.dialect"),
    "other_names": ({"pool": ", model: other"}, "models[0].pools[0].model"),
}
ANSWERS = {
    "answers searched": ({"pii": "{restore: false, response: mask}"}, "filters[1].pii.response"),
    "values restored": ({"pii": "{}"}, "filters[1].pii.restore"),
    "restored for some": ({"overrides": "[{when: {user: a}, set: {pii: {restore: true}}}]"}, "overrides[0].set.pii.restore"),
    "streams cut": ({"budget": "{on_exhausted: cut}"}, "filters[2].budget.on_exhausted"),
    "streams counted": ({"usage": "{on_hang_up: count}"}, "filters[4].usage.on_hang_up"),
    "usage taken out": ({"usage": "{usage_chunk: remove}"}, "filters[4].usage.usage_chunk"),
}


def problems(folder: Path, gateway: Gateway, **parts: str) -> list[tuple[str, str]]:
    path = folder / "policy.yaml"
    path.write_text(BASE.format(**PLAIN | parts))
    try:
        compile_policy(path, Registry.installed(), Ports(MemoryStore(), ManualClock(), Inline()), gateway)
    except PolicyErrors as errors:
        return [(problem.where, problem.message) for problem in errors.problems]
    return []


@pytest.mark.parametrize("gateway", Gateway)
def test_what_every_gateway_can_do_is_taken_by_all(gateway: Gateway, tmp_path: Path) -> None:
    assert problems(tmp_path, gateway) == []


@pytest.mark.parametrize(("parts", "where"), ONE_UPSTREAM.values(), ids=ONE_UPSTREAM)
def test_apisix_is_refused_what_only_attempts_of_envoy_can_do(parts: dict[str, str], where: str, tmp_path: Path) -> None:
    assert problems(tmp_path, Gateway.ENVOY, **parts) == []
    for gateway in (Gateway.APISIX, Gateway.APISIX_REQUEST_ONLY):
        ((place, message),) = problems(tmp_path, gateway, **parts)
        assert (place, message.split(":")[0]) == (where, f"not behind {gateway}")


@pytest.mark.parametrize(("parts", "where"), ANSWERS.values(), ids=ANSWERS)
def test_request_only_is_refused_what_needs_the_answer(parts: dict[str, str], where: str, tmp_path: Path) -> None:
    assert problems(tmp_path, Gateway.APISIX, **parts) == []
    ((place, message),) = problems(tmp_path, Gateway.APISIX_REQUEST_ONLY, **parts)
    assert place == where
    assert "turn request_only off" in message


def test_a_filter_that_is_off_needs_nothing(tmp_path: Path) -> None:
    assert problems(tmp_path, Gateway.APISIX_REQUEST_ONLY, pii="{mode: off}") == []


def test_every_feature_that_a_gateway_lacks_is_tried() -> None:
    lacking = {feature.__name__ for features in LACKS.values() for feature in features}
    assert lacking - {"answers"} <= set(ONE_UPSTREAM)
