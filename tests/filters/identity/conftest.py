import pytest


@pytest.fixture(autouse=True)
def no_pepper_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_PEPPER", raising=False)
