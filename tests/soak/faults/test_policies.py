"""Every change of the file, as the service's own compiler finds it."""

import json
from pathlib import Path
from random import Random

import pytest

from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.compile import Policy, compile_policy
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.stores.memory import MemoryStore
from tests.soak.faults.policies import BAD, GOOD, PolicyFile

DOCUMENT = {
    "version": 1,
    "models": [{"name": "m", "price": {"input": 1, "output": 1}}],
    "budgets": [{"name": "all", "per": ["organisation"], "limit": {"tokens": 10}, "window": "day"}],
    "filters": [{"budget": {}}],
}


@pytest.fixture
def changing(tmp_path: Path) -> PolicyFile:
    file = PolicyFile(tmp_path / "policy.yaml", DOCUMENT)
    file.right()
    return file


def compiled(file: PolicyFile) -> Policy:
    return compile_policy(file.path, Registry.installed(), Ports(MemoryStore(), SystemClock(), ThreadOffload()))


@pytest.mark.parametrize("what", sorted(BAD))
@pytest.mark.parametrize("in_place", [False, True])
def test_a_bad_change_is_refused_with_a_reason(changing: PolicyFile, what: str, in_place: bool) -> None:
    assert not changing.put(what, in_place=in_place).good
    with pytest.raises(PolicyErrors) as refused:
        compiled(changing)
    assert str(changing.path) in str(refused.value.problems[0])


def test_a_good_change_is_another_revision_with_its_marker(changing: PolicyFile) -> None:
    first = changing.put(GOOD)
    before = compiled(changing)
    second = changing.put(GOOD, in_place=True)
    after = compiled(changing)
    assert before.revision != after.revision
    assert [[model.name for model in policy.catalogue][-1] for policy in (before, after)] == [first.marker, second.marker]
    changing.right()
    assert json.loads(changing.path.read_text()) == DOCUMENT


def test_chance_has_every_change_and_repeats_itself(changing: PolicyFile) -> None:
    one, two = Random(4), Random(4)
    changes = [changing.change(one).what for _ in range(200)]
    assert set(changes) == {GOOD, *BAD}
    assert changes == [changing.change(two).what for _ in range(200)]
