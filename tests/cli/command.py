"""Runs `headrace` as a user does."""

import subprocess
import sys
from pathlib import Path


def headrace(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from headrace.ext_proc.cli import main; main()"]
    return subprocess.run([*program, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
