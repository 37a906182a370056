"""A policy's vocabularies are loaded before its first request, and one that cannot be loaded keeps nobody from starting."""

from pathlib import Path

from headrace.ext_proc.engine.counting import counter
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.warming import warm
from tests.filters.compiled import compiled
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
