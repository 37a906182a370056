"""A store for tests that are not about its time-outs."""

from headrace.ext_proc.core.ports import Store
from headrace.ext_proc.stores import open_store

PATIENCE_S = 30.0
"""For one reply. The service's half second is shorter than what a busy machine may stand still."""


def patient_store(url: str) -> Store:
    return open_store(url, timeout_s=PATIENCE_S)
