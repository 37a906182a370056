"""A policy's vocabularies are loaded before its first request, and one that cannot be loaded keeps nobody from starting."""

from pathlib import Path

from headrace.ext_proc.engine import tokens
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.warming import warm
from tests.filters.compiled import compiled

POLICY = """version: 1
models:
  - {name: broken, tokenizer: {file: tokenizer.json}, price: {input: 1, output: 1}}
  - {name: usual, tokenizer: cl100k_base, price: {input: 1, output: 1}}
"""


def test_every_vocabulary_that_can_be_loaded_is(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    policy = compiled(tmp_path, POLICY)
    tokens._bundled.cache_clear()
    offload = ThreadOffload()
    assert warm(policy, offload) is policy
    offload.close()
    assert tokens._bundled.cache_info().currsize == 1
