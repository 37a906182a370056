"""The commands in the documentation give what it says. A block that begins with `# name.yaml` is that file, from there on; one
whose fence says `json name.json` is that file."""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.ext_proc.engine.key_files import write_keys
from headrace.ext_proc.engine.keys import KeyRecord, digest
from headrace.ext_proc.stores.embedded import EmbeddedStore
from tests.bench.upstream import free_port
from tests.cli.command import headrace
from tests.console import Terminal, matches
from tests.filters.compiled import compiled

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"```(yaml|console)\n(.*?)```", re.DOTALL)
JSON_FILE = re.compile(r"```json (\S+\.jsonl?)\n(.*?)```", re.DOTALL)
FILE = re.compile(r"# (\S+\.yaml)\n")


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text("utf-8"))


def sessions(text: str) -> Iterator[tuple[str, list[str]]]:
    """Commands with the lines they print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *lines = part.splitlines()
        yield command, lines


def prints(command: str, directory: Path) -> list[str]:
    program, *arguments = shlex.split(command)
    assert program == "headrace"
    done: subprocess.CompletedProcess[str] = headrace(*arguments, cwd=directory)
    assert "Traceback" not in done.stderr
    return (done.stdout + done.stderr).splitlines()


WALKTHROUGH = DOCS / "walkthrough.md"
PAGES = [
    page
    for page in sorted(DOCS.glob("**/*.md"))
    if any(kind == "console" for kind, _ in blocks(page)) and page != WALKTHROUGH  # it has a terminal of its own
]


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with EmbeddedStore() as url:
        yield url


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_print_what_the_page_says(page: Path, tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_STORE", store)
    for name, text in JSON_FILE.findall(page.read_text("utf-8")):
        (tmp_path / name).write_text(text, "utf-8")
    for kind, text in blocks(page):
        if kind == "yaml" and (named := FILE.match(text)):
            (tmp_path / named[1]).write_text(text, "utf-8")
        elif kind == "console":
            for command, expected in sessions(text):
                printed = prints(command, tmp_path)
                assert len(printed) == len(expected), printed
                assert [line for line, right in zip(printed, expected, strict=True) if not matches(line, right)] == []


def parts(page: Path) -> Iterator[tuple[str, str]]:
    """Files to be written, by name, and sessions under the name `console`, in the order of the page."""
    for kind, text in re.findall(r"```(yaml|console|json \S+)\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        if kind == "yaml":
            first, _, rest = text.partition("\n")
            yield first.removeprefix("# "), rest
        else:
            yield kind.removeprefix("json "), text


@pytest.mark.e2e
def test_the_walk_through_a_change_goes_as_its_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = {name: str(free_port()) for name in ("9001", "10000")}
    monkeypatch.setenv("HEADRACE_PORT", ports["10000"])
    with Terminal(
        tmp_path, {f":{name}": f":{port}" for name, port in ports.items()} | {"--port 9001": f"--port {ports['9001']}"}
    ) as terminal:
        for name, text in parts(WALKTHROUGH):
            if name != "console":
                (tmp_path / name).write_text(text, "utf-8")
                continue
            for command, expected in sessions(text):
                assert terminal.run(command, expected) == []


@pytest.mark.parametrize("index", range(4))
def test_each_source_of_the_identity_page_compiles(index: int, tmp_path: Path) -> None:
    lists = [text for _, text in blocks(DOCS / "filters" / "identity.md") if text.startswith("identity:")]
    (tmp_path / "headrace.pepper").write_text("p" * 32)
    write_keys(tmp_path / "keys.yaml", (KeyRecord(id="a", digest=digest(b"p" * 32, "secret")),))
    assert compiled(tmp_path, f"version: 1\n{lists[index]}\nfilters: [{{identity: {{}}}}]\n").document.identity
    assert len(lists) == 4


def test_pages_are_run_at_all() -> None:
    assert {"policy", "check", "keys"} <= {page.stem for page in PAGES}
