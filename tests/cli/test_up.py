"""`headrace up` where it cannot start: a line and status 1. What it does is tested by the demo and with real Envoy."""

import errno
import sys
from pathlib import Path

import pytest

from headrace.ext_proc.cli.up import _asked_for
from headrace.ext_proc.service.stack import Stack, StackOptions, read_document
from tests.cli.in_process import headrace

POLICY = """version: 1
models: []
filters: []
upstreams: {a: {url: "http://127.0.0.1:1"}}
"""


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "headrace.ext_proc.service.stack", None)
    done = headrace("up", "policy.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "is not installed: pip install '.[stack]' in a checkout of Headrace" in done.stderr


def test_without_a_place_for_temporary_files_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unwritable(**_: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    (tmp_path / "policy.yaml").write_text(POLICY)
    monkeypatch.setattr("tempfile.mkdtemp", unwritable)
    done = headrace("up", "policy.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "No usable temporary directory" in done.stderr and "TMPDIR" in done.stderr


def test_an_upstream_that_no_gateway_can_have_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.replace(":1", ":1/v1"))
    done = headrace("up", "policy.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    expected = "policy.yaml: upstreams: 'http://127.0.0.1:1/v1': without /v1, which is part of the request's own path"
    assert done.stderr.splitlines() == [expected]


@pytest.mark.parametrize(("host", "url"), [("::1", "http://[::1]:0"), ("127.0.0.1", "http://127.0.0.1:0")])
def test_its_url_is_one(host: str, url: str) -> None:
    assert Stack(Path("policy.yaml"), StackOptions(host=host)).url == url


@pytest.mark.parametrize(("models", "name"), [("[]", "MODEL"), ("[{name: gpt-*}]", "MODEL"), ("[{name: gpt-*}, {name: m}]", "m")])
def test_the_request_that_it_shows_names_a_model_and_no_glob(models: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY.replace("models: []", f"models: {models}"))
    assert _asked_for(read_document(tmp_path / "policy.yaml")) == name
