"""What all workers of a service share."""

from pathlib import Path

import pytest

from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.service.options import Options
from headrace.ext_proc.service.supervisor import Service


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.delenv("HEADRACE_PII_KEY", raising=False)
    listen = Address.parse(f"unix:{tmp_path}/w.sock")
    return Service(Options(policy=tmp_path / "policy.yaml", listen=listen, store="redis://127.0.0.1:1", workers=3))


def test_workers_make_the_same_placeholders(service: Service) -> None:
    keys = {slot.settings.environment["HEADRACE_PII_KEY"] for slot in service.slots}
    assert [len(key) for key in keys] == [64]


def test_the_operators_own_key_is_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HEADRACE_PII_KEY", "k" * 32)
    options = Options(policy=tmp_path / "policy.yaml", listen=Address.parse(f"unix:{tmp_path}/w.sock"), store="redis://127.0.0.1:1")
    assert [slot.settings.environment for slot in Service(options).slots] == [{}]
