"""What pip-audit says of the lock, told apart from that it could not say anything."""

import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.dependencies.lock import ROOT

PIP_AUDIT = "pip-audit==2.10.1"
FINE, FOUND, NOT_AUDITED = 0, 1, 3
HOME = ROOT / ".venv-audit"


@dataclass(frozen=True)
class Verdict:
    """status: the exit status. lines: for people."""

    status: int
    lines: tuple[str, ...]


def audited() -> Verdict:
    """pip-audit, installed apart from what it looks at, on requirements.lock. The network is asked."""
    try:
        program = _installed()
    except subprocess.CalledProcessError as error:
        return _unheard(f"{PIP_AUDIT} cannot be installed: {_last(error.stderr)}")
    command = [str(program), "--requirement", str(ROOT / "requirements.lock"), "--require-hashes", "--disable-pip"]
    done = subprocess.run([*command, "--format", "json", "--progress-spinner", "off"], capture_output=True, text=True)
    return verdict(done.stdout, done.stderr)


def _installed() -> Path:
    """Raises CalledProcessError."""
    program = HOME / "bin" / "pip-audit"
    if not program.exists():
        venv.create(HOME, with_pip=True)
        pip = [str(HOME / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PIP_AUDIT]
        subprocess.run(pip, check=True, capture_output=True, text=True)
    return program


def verdict(stdout: str, stderr: str) -> Verdict:
    """Of what pip-audit wrote. Its exit status does not tell a vulnerability from a service that is away."""
    try:
        entries: list[dict[str, Any]] = json.loads(stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return _unheard(_last(stderr))
    known, skipped = list(_known(entries)), _skipped(entries)
    if known:
        return Verdict(FOUND, (*known, *skipped))
    if skipped or not entries:
        return Verdict(NOT_AUDITED, ("not audited", *skipped))
    return Verdict(FINE, (f"nothing is known against any of {len(entries)} packages",))


def _skipped(entries: list[dict[str, Any]]) -> list[str]:
    """Nothing, or how many the database does not know, and the reason for the first."""
    reasons = [one["skip_reason"] for one in entries if "skip_reason" in one]
    return [f"{len(reasons)} of {len(entries)} packages were not looked at: {reasons[0]}"] if reasons else []


def _known(entries: list[dict[str, Any]]) -> Iterator[str]:
    for one in entries:
        for found in one.get("vulns", ()):
            mended = f"; mended in {', '.join(found['fix_versions'])}" if found.get("fix_versions") else ""
            yield f"{one['name']} {one['version']}: {found['id']}{mended}"


def _unheard(why: str) -> Verdict:
    return Verdict(NOT_AUDITED, (f"not audited: the advisory database cannot be asked ({why})",))


def _last(stderr: str) -> str:
    return (stderr.strip().splitlines() or ["no word"])[-1][:300]


def main() -> int:
    found = audited()
    print("\n".join(found.lines), file=sys.stdout if found.status == FINE else sys.stderr)
    return found.status
