"""The peers' programs, each in an environment of its own below `build/peers`, by the versions and hashes that are pinned here."""

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

PINS = Path(__file__).parent
ROOT = Path("build/peers")
INSTALL_TIME = 600  # seconds for one peer's packages


class CannotInstallError(Exception):
    """A peer is not to be had on this machine; the message says why."""


def python_peer(name: str) -> Path:
    """The `bin` folder of a virtual environment with `requirements/<name>.txt`, made when it is missing or pinned otherwise."""
    folder, pins = ROOT.absolute() / name, PINS / "requirements" / f"{name}.txt"
    if not _is_current(folder, pins):
        shutil.rmtree(folder, ignore_errors=True)
        _install(sys.executable, "-m", "venv", str(folder))
        pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        _install(*pip, "--require-hashes", "--requirement", str(pins))
        _mark(folder, pins)
    return folder / "bin"


def node_peer(name: str) -> Path:
    """The `node_modules` folder of what `<name>/package-lock.json` pins."""
    folder, pins = ROOT.absolute() / name, PINS / name / "package-lock.json"
    if not shutil.which("npm") or not shutil.which("node"):
        raise CannotInstallError(f"{name} runs on Node, which is not installed: apt-get install nodejs npm")
    if not _is_current(folder, pins):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for each in ("package.json", "package-lock.json"):
            shutil.copy(PINS / name / each, folder)
        _install("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", cwd=folder)
        _mark(folder, pins)
    return folder / "node_modules"


def _install(*command: str, cwd: Path | None = None) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=INSTALL_TIME, check=False)
    except subprocess.TimeoutExpired:
        raise CannotInstallError(f"{_words(command)} did not end within {INSTALL_TIME} s") from None
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
        raise CannotInstallError(f"{_words(command)} ended with status {done.returncode}: {last}")


def _words(command: Sequence[str]) -> str:
    return " ".join((Path(command[0]).name, *command[1:4]))


def _is_current(folder: Path, pins: Path) -> bool:
    mark = folder / "installed"
    return mark.is_file() and mark.read_text() == _digest(pins)


def _mark(folder: Path, pins: Path) -> None:
    (folder / "installed").write_text(_digest(pins))


def _digest(pins: Path) -> str:
    return hashlib.sha256(pins.read_bytes()).hexdigest()


def pinned() -> Mapping[str, str]:
    """The versions of the peers, and of Node."""
    lines = [
        line for name in ("litellm", "presidio", "shield") for line in (PINS / "requirements" / f"{name}.in").read_text().split()
    ]
    python = dict(_pin(line) for line in lines)
    node = json.loads((PINS / "portkey" / "package.json").read_text())["dependencies"]
    return {**python, **node, **({"node": _node()} if shutil.which("node") else {})}


def _pin(line: str) -> tuple[str, str]:
    name, _, version = line.partition("==")
    return name.partition("[")[0], version


def _node() -> str:
    return subprocess.run(("node", "--version"), capture_output=True, text=True, check=True).stdout.strip()
