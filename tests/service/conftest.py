"""A store the tests share, directories short enough for sockets, and a policy that needs nothing else."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.ext_proc.stores.embedded import EmbeddedStore

POLICY = """version: 1
models:
  - name: llama-3.3-70b
    price: {input: 0.60, output: 0.80}
filters:
  - usage: {}
"""


@pytest.fixture(scope="session")
def valkey() -> Iterator[str]:
    with EmbeddedStore() as url:
        yield url


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory of its own under /tmp: pytest's are too long for a socket's path."""
    directory = Path(tempfile.mkdtemp(prefix="hr-", dir="/tmp"))
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def policy(folder: Path) -> Path:
    path = folder / "policy.yaml"
    path.write_text(POLICY)
    return path
