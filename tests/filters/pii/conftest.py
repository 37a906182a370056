"""Policies that several tests talk to."""

import pytest

from headrace.ext_proc.engine.policy.compile import Policy

from .driver import policy


@pytest.fixture(scope="module")
def restoring(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy(tmp_path_factory.mktemp("restoring"))


@pytest.fixture(scope="module")
def scrubbing(tmp_path_factory: pytest.TempPathFactory) -> Policy:
    return policy(tmp_path_factory.mktemp("scrubbing"), "response: redact")
