"""A KMS connected by a package, in the place of a local master key."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from headrace.ext_proc.audit import masters
from headrace.ext_proc.audit.chain import Chain
from headrace.ext_proc.audit.errors import AuditError
from headrace.ext_proc.audit.masters import LocalMaster, MasterKey
from headrace.ext_proc.audit.opening import opened, policy_terms
from headrace.ext_proc.audit.reading import entries
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from tests.audit.logs import Ticking, pending
from tests.audit.site import POLICY

OF_KMS = POLICY.replace("master_key: {file: master.key}", "master_key: {kms: acme, key: vault-7}")


class Acme:
    """Wraps by a key that it never gives away, and counts how often it is asked."""

    def __init__(self, key: str) -> None:
        self.id = f"acme:{key}"
        self.calls = 0
        self._within = LocalMaster(key.encode().ljust(32))

    def wrap(self, data_key: bytes, context: bytes) -> bytes:
        self.calls += 1
        return self._within.wrap(data_key, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        self.calls += 1
        return self._within.unwrap(wrapped, context)


def connect(key: str) -> MasterKey:
    return Acme(key)


def broken(key: str) -> MasterKey:
    raise AuditError("the KMS does not know the key")


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    def found(*, group: str) -> list[EntryPoint]:
        assert group == "headrace.master_keys"
        return [EntryPoint(name, f"{__name__}:{what}", group) for name, what in (("acme", "connect"), ("broken", "broken"))]

    monkeypatch.setattr(masters, "entry_points", found)
    monkeypatch.setattr(EntryPoint, "load", lambda entry: globals()[entry.attr])
    path = tmp_path / "policy.yaml"
    path.write_text(OF_KMS)
    return path


def test_bodies_are_kept_under_keys_that_the_kms_wraps(policy: Path) -> None:
    terms, clock = policy_terms(policy), Ticking()
    chain = Chain(terms, "0", clock.now_ms)
    for number in range(5):
        one = pending(number, clock)
        one.tenant, one.parts = ("acme", "blue"), {"request": b"secret"}
        chain.write([one])
    chain.close()
    assert isinstance(terms.master, Acme)
    assert terms.master.calls == 2, "to wrap the tenant's new key, and to open it once"
    log = opened(policy)
    (first, *_) = entries(log.home.path)
    assert log.body(first, "request") == b"secret"


@pytest.mark.parametrize(
    ("kms", "said"), [("broken", "the KMS does not know the key"), ("azure", "no package connects a KMS 'azure'; .* acme, broken")]
)
def test_a_kms_that_cannot_be_connected_is_a_problem_of_the_policy(kms: str, said: str, policy: Path) -> None:
    policy.write_text(OF_KMS.replace("acme", kms))
    with pytest.raises(PolicyErrors, match=said):
        policy_terms(policy)
