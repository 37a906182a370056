from pathlib import Path

import pytest

from tests.engine.policy.support import Workbench


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path)
