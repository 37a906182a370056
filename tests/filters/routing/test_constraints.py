"""Hard constraints: memory, tags, and what other filters say of where a request may go."""

import json
from pathlib import Path
from typing import Any

import pytest

from headrace.ext_proc.core.events import Answer, Proceed, Refuse
from headrace.ext_proc.core.needs import Capability
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from tests.filters.compiled import compiled, exchange_with
from tests.kit import body, decision_in, last, post

CONFIG = {"num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "hidden_size": 8192}
POLICY = """
    version: 1
    upstreams:
      near: {url: "http://127.0.0.1:1", tags: [eu, self-hosted]}
      far: {url: "http://127.0.0.1:2", tags: [us]}
    models:
      - name: m
        max_output: 100
        shape: config.json
        pools:
          - {upstream: far, gpus: {memory_gib: 24, weights_gib: 18, overhead_gib: 1}}
          - {upstream: near, gpus: {count: 2, memory_gib: 80, weights_gib: 132, utilisation: 0.95}}
    filters: [{routing: {TAGS}}, {usage: {mode: "off"}}]
"""


async def asked(folder: Path, tags: str = "", **members: Any) -> tuple[Answer, dict[str, Any]]:
    (folder / "config.json").write_text(json.dumps(CONFIG))
    exchange = exchange_with(compiled(folder, POLICY.replace("TAGS", tags)), Capability.ACCESS_LOG)
    answer = await last(exchange, post(), body({"model": "m", "messages": [{"role": "user", "content": "hi"}], **members}))
    step = decision_in(exchange.close())["steps"][0]
    return answer, {one["upstream"]: one for one in step["note"]["candidates"]}


def chosen(answer: Answer) -> tuple[str, str]:
    assert isinstance(answer, Proceed), answer
    return str(answer.metadata["route"]), str(answer.metadata["reason"])


async def test_a_request_that_the_gpus_hold_goes_to_the_first_pool(tmp_path: Path) -> None:
    answer, candidates = await asked(tmp_path)
    assert chosen(answer) == ("far", "routing.first_pool")
    assert candidates["far"]["fits"] and "GiB of KV cache, which holds 8512 tokens" in candidates["far"]["why"]


async def test_a_request_that_they_do_not_hold_goes_to_larger_ones(tmp_path: Path) -> None:
    answer, candidates = await asked(tmp_path, max_tokens=9000)
    assert chosen(answer) == ("near", "routing.memory_fit")
    assert candidates["far"] == {
        "upstream": "far",
        "fits": False,
        "why": "needs 2.75 GiB of KV cache for 9008 tokens, has 2.60 GiB",
    }


async def test_what_no_gpus_hold_is_refused_with_the_numbers(tmp_path: Path) -> None:
    answer, _ = await asked(tmp_path, max_tokens=90_000)
    assert isinstance(answer, Refuse)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"]) == (413, "routing.too_large")
    assert "90008 tokens" in error["message"] and "the largest pool takes 58976" in error["message"]


async def test_every_choice_takes_memory_of_its_own(tmp_path: Path) -> None:
    answer, _ = await asked(tmp_path, max_tokens=5000, n=2)
    assert chosen(answer) == ("near", "routing.memory_fit")


async def test_a_tenants_tags_keep_it_from_other_pools(tmp_path: Path) -> None:
    answer, candidates = await asked(tmp_path, "tags: [eu]")
    assert chosen(answer) == ("near", "routing.tags")
    assert candidates["far"]["why"] == "has not the tag eu"


async def test_where_no_pool_has_the_tags_the_request_is_refused(tmp_path: Path) -> None:
    answer, _ = await asked(tmp_path, "tags: [eu, us]")
    assert isinstance(answer, Refuse)
    assert (answer.status, json.loads(answer.body)["error"]["code"]) == (403, "routing.not_permitted")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("TAGS", "tags: [eur]"), "no upstream has the tag 'eur'; did you mean 'eu'?"),
        (("        shape: config.json\n", ""), "is of no use without the model's shape"),
        (("weights_gib: 18", "weights_gib: 30"), "leave no room for a KV cache"),
        (("shape: config.json", "shape: other.json"), "num_hidden_layers must be a positive whole number"),
        (("shape: config.json", "shape: nowhere.json"), "cannot read"),
    ],
)
def test_a_policy_that_could_place_nothing_is_refused(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(PolicyErrors) as refused:
        compiled(tmp_path, POLICY.replace(*change).replace("TAGS", ""))
    assert message in str(refused.value)
