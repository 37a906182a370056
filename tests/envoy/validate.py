"""What Envoy itself says about a configuration."""

import subprocess
from pathlib import Path

from headrace.ext_proc.envoy.process import binary


def refusal(text: str, directory: Path) -> str:
    """Why Envoy does not take this bootstrap (YAML or JSON); empty when it does."""
    path = directory / "validated.yaml"
    path.write_text(text)
    command = [str(binary()), "--mode", "validate", "-c", str(path), "--log-level", "error"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr
