"""A terminal for the pages of the documentation: commands in one directory, some of them in the background, and what they print."""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, Queue
from typing import Self

PATIENCE_S = 120.0
AGAIN_S = 0.2
LOOKING = "headrace policy compare "
BIN = Path(sys.executable).parent


def matches(line: str, expected: str) -> bool:
    """`…` stands for what differs each time."""
    return re.fullmatch(".+".join(map(re.escape, expected.split("…"))), line) is not None


class Background:
    """A command that goes on; its lines as they come."""

    def __init__(self, command: str, directory: Path, environment: Mapping[str, str]) -> None:
        self.lines: Queue[str] = Queue()
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=directory, env=environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.put(line.removesuffix("\n"))

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)
        assert self._process.stdout is not None
        self._process.stdout.close()


class Terminal:
    """replaced: what stands for what in commands and in what they print, such as ports that are free here. Used with `with`."""

    def __init__(self, directory: Path, replaced: Mapping[str, str]) -> None:
        assert shutil.which("bash"), "the pages are run by bash"
        self._directory = directory
        self._replaced = replaced
        self._environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
        self._running: list[Background] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in reversed(self._running):
            one.stop()

    def run(self, command: str, expected: Sequence[str]) -> Sequence[str]:
        """The lines of `expected` that did not come, by the command itself or after it by one in the background. What only looks is
        asked again, as long as somebody would: a candidate is tried after the exchange.
        """
        deadline = time.monotonic() + PATIENCE_S
        while (missed := self._run(command, expected)) and command.startswith(LOOKING) and time.monotonic() < deadline:
            time.sleep(AGAIN_S)
        return missed

    def _run(self, command: str, expected: Sequence[str]) -> Sequence[str]:
        command, expected = self._here(command), [self._here(line) for line in expected]
        if command.endswith(" &"):
            self._running.append(Background(command.removesuffix(" &"), self._directory, self._environment))
            return self._later(expected)
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self._directory,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        printed = (done.stdout + done.stderr).splitlines()
        missed = [f"{line}\n  not: {expected}" for line, want in zip(printed, expected, strict=False) if not matches(line, want)]
        return [*missed, *self._later(expected[len(printed) :]), *printed[len(expected) :]]

    def _later(self, expected: Sequence[str]) -> Sequence[str]:
        """Lines of what runs in the background; empty ones and others in between do not count."""
        return [line for line in expected if line and not self._comes(line)]

    def _comes(self, expected: str) -> bool:
        try:
            while not matches(self._running[-1].lines.get(timeout=PATIENCE_S), expected):
                pass
        except (Empty, IndexError):
            return False
        return True

    def _here(self, text: str) -> str:
        for old, new in self._replaced.items():
            text = text.replace(old, new)
        return text
