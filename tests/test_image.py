"""The Dockerfile, as far as it can be tried without Docker: its commands are run here by a shell."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.dependencies.lock import ROOT, locked

DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
LOCK = (ROOT / "requirements.lock").read_text("utf-8")


def command(start: str, end: str) -> str:
    """The part of a RUN from one word to another."""
    (found,) = re.findall(rf"{re.escape(start)}.*?{re.escape(end)}", DOCKERFILE, re.DOTALL)
    return str(found)


def shell(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", "-c", text], cwd=folder, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("extras", ["", "ner", "ner,spacy"])
def test_asked_for_is_what_the_project_names(extras: str) -> None:
    text = command("python -c ", '"$EXTRAS"').replace("python", sys.executable, 1)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    of_extras = [one for extra in extras.split(",") if extra for one in project["optional-dependencies"][extra]]
    assert shell(f"EXTRAS={extras}; {text}", ROOT).stdout.splitlines() == [*project["dependencies"], *of_extras]


@pytest.mark.parametrize("of_the_lock", [True, False])
def test_a_file_whose_hash_is_not_in_the_lock_ends_the_build(of_the_lock: bool, tmp_path: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    for name in ("a.whl", "b.whl"):
        (folder / name).write_text(name)
    sums = [shell(f"sha256sum {name}", folder).stdout.split()[0] for name in ("a.whl", "b.whl")]
    known = sums if of_the_lock else sums[1:]
    (tmp_path / "requirements.lock").write_text("".join(f"    --hash=sha256:{one} \\\n" for one in known))
    done = shell(command("(cd wheels", "done"), tmp_path)
    expected = (0, "") if of_the_lock else (1, "a.whl is not in requirements.lock\n")
    assert (done.returncode, done.stdout) == expected


def test_what_is_installed_comes_from_the_files_that_were_looked_at() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?(install|wheel) ([^\\\n]*)", DOCKERFILE)
    assert len(installs) == 3
    assert [words for _, words in installs if "--no-index" not in words and "--no-deps --no-build-isolation" not in words] == []


def test_what_builds_the_package_is_locked() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["build-system"]["requires"]
    assert set(requires) <= {one.name for one in locked(LOCK)}
    assert DOCKERFILE.count(" ".join(requires)) == 2


def test_the_user_is_a_number_that_is_not_root() -> None:
    """Kubernetes refuses to start an image that names its user where `runAsNonRoot` is set."""
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)[-1]
    assert user.isdecimal() and int(user) > 0
