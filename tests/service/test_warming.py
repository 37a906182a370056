"""A policy's vocabularies are loaded before its first request, and one that cannot be loaded keeps nobody from starting."""

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.ext_proc.core.request import Request
from headrace.ext_proc.engine.counting import counter
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.warming import warm
from tests.filters.compiled import Inline, compiled
from tests.tokenizer_files import words, write

POLICY = """version: 1
models:
  - {name: broken, tokenizer: {file: tokenizer.json}, price: {input: 1, output: 1}}
  - {name: usual, tokenizer: cl100k_base, price: {input: 1, output: 1}}
"""


def test_every_vocabulary_that_can_be_loaded_is(tmp_path: Path) -> None:
    write(tmp_path / "tokenizer.json", words())
    policy = compiled(tmp_path, POLICY)
    write(tmp_path / "tokenizer.json", "{}")
    counter.bundled.cache_clear()
    offload = ThreadOffload()
    assert warm(policy, offload) is policy
    offload.close()
    assert counter.bundled.cache_info().currsize == 1


class Unready:
    """A filter of another package, with a defect."""

    name = "unready"

    def open(self, request: Request) -> None:
        return None

    def warm(self) -> None:
        raise KeyError("weights")


def test_a_filter_that_cannot_be_made_ready_is_a_problem_of_the_policy(tmp_path: Path) -> None:
    policy = compiled(tmp_path, "version: 1\n")
    with pytest.raises(PolicyErrors) as caught:
        warm(replace(policy, filters=(Unready(),)), Inline())
    assert str(caught.value) == f"{policy.path}: filter 'unready' cannot be made ready: KeyError: 'weights'"
    assert caught.value.files == policy.files
