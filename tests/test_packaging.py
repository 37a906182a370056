"""What is shipped: source distribution → wheel → a clean environment that has nothing but the wheel and what it asks for."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from headrace.ext_proc.admin.console.rendering import HTMX

ROOT = Path(__file__).parent.parent


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def constraints(target: Path) -> Path:
    """The lock's versions without its hashes, as the Dockerfile writes them: pip refuses hashes beside a wheel that has none."""
    (program,) = re.findall(r"sed -n '(.*)' requirements.lock", (ROOT / "Dockerfile").read_text("utf-8"))
    target.write_text(run("sed", "-n", program, "requirements.lock"), "utf-8")
    return target


def test_no_constraint_contradicts_another(tmp_path: Path) -> None:
    asked = [Requirement(line) for line in constraints(tmp_path / "constraints.txt").read_text("utf-8").splitlines()]
    assert len(asked) > 100
    for version in ("3.11.9", "3.12.9", "3.13.9", "3.14.9"):
        here = {"python_full_version": version, "python_version": version.rpartition(".")[0]}
        names = [one.name for one in asked if one.marker is None or one.marker.evaluate(here)]
        assert sorted(set(names)) == sorted(names)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as a package index would: the wheel from the unpacked source distribution."""
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", dist)
    (built,) = dist.glob("*.whl")
    return built


def test_the_wheel_has_the_packages_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"headrace/ext_proc/core/exchange.py", "headrace/filters/usage.py", "headrace/ext_proc/py.typed"} <= set(names)
    assert "headrace/ext_proc/stores/functions.lua" in names
    assert {
        f"headrace/ext_proc/admin/console/{name}" for name in ("static/console.css", f"static/{HTMX}", "templates/base.html")
    } <= set(names)
    assert not [name for name in names if name.startswith(("tests/", "ext_proc/", "filters/")) or "__pycache__" in name]


@pytest.mark.timeout(600)
def test_a_clean_environment_with_the_wheel_runs_headrace(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "env")
    python = tmp_path / "env" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", constraints(tmp_path / "constraints.txt"), wheel, cwd=tmp_path)
    headrace = tmp_path / "env" / "bin" / "headrace"
    assert "serve" in run(headrace, "--help", cwd=tmp_path)
    answers = ("--upstream", "a=http://a:1", "--model", "gpt-4o", "--identity", "headers", "--usd", "5", "--pii", "none")
    run(headrace, "policy", "init", *answers, cwd=tmp_path)
    assert (tmp_path / "policy.yaml").read_text().startswith("# yaml-language-server: $schema=policy.schema.json\n")
    assert (tmp_path / "policy.schema.json").read_text() == (ROOT / "policies" / "policy.schema.json").read_text()
    found = run(python, "-c", "import headrace.filters, headrace.filters.routing as r; print(r.__file__)", cwd=tmp_path)
    assert str(tmp_path) in found
