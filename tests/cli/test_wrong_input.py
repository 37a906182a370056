"""Files that no command can use: each says which, where in it and what is wrong, and none ends with a traceback."""

import os
from pathlib import Path

import pytest

from headrace.ext_proc.cli.files import replaced, write_text
from tests.cli.in_process import headrace

POLICY = 'version: 1\nupstreams: {a: {url: "http://127.0.0.1:1"}}\nfilters: [{pii: {model: none, entities: [EMAIL_ADDRESS]}}]\n'
REQUEST = '{"model": "m", "messages": []}'
ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefg", "bcdefgh", strict=True)
)
UNUSABLE = {
    "gone": None,
    "folder": None,
    "empty": b"",
    "latin": "version: 1\nname: caf\u00e9\n".encode("latin-1"),
    "bytes": bytes(range(256)) * 10,
    "cut": b'{"version": 1, "models": [{',
    "text": b"just words\n",
    "deep": b"version: 1\nmodels: " + b"[" * 500,
    "deeper": b'{"a":' * 500 + b"1" + b"}" * 500,
    "aliases": ALIASES.encode(),
}
"""By name; a folder has no content, and what is gone is not there."""

COMMANDS = {
    "check": ("check", "FILE"),
    "explain": ("explain", "FILE", "--request", "request.json"),
    "test": ("test", "FILE"),
    "diff": ("policy", "diff", "policy.yaml", "FILE"),
    "compare": ("policy", "compare", "FILE"),
    "replay": ("replay", "FILE", "--policy", "policy.yaml", "--against", "policy.yaml"),
    "scan-policy": ("pii", "scan", "request.json", "--policy", "FILE"),
    "scan-json": ("pii", "scan", "--json", "--policy", "policy.yaml", "FILE"),
    "route": ("route", "simulate", "FILE"),
    "envoy-config": ("envoy", "config", "FILE"),
    "envoy-patch": ("envoy", "patch", "FILE"),
    "envoy-doctor": ("envoy", "doctor", "FILE"),
    "apisix-config": ("apisix", "config", "FILE"),
    "apisix-doctor": ("apisix", "doctor", "FILE"),
    "keys": ("keys", "list", "--file", "FILE"),
    "invoice": ("usage", "reconcile", "FILE", "--store", "redis://127.0.0.1:1"),
    "audit": ("audit", "verify", "FILE"),
    "budget": ("budget", "show", "FILE", "--store", "redis://127.0.0.1:1"),
}
"""FILE is the one that cannot be used."""

TAKEN = {("scan-json", "empty"), ("test", "folder"), ("audit", "gone")}
"""No lines are no error; a folder without cases is the command line's; a log that is not there is a directory's name."""


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "policy.yaml").write_text(POLICY)
    (folder / "request.json").write_text(REQUEST)
    (folder / "folder").mkdir()
    for name, content in UNUSABLE.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", UNUSABLE)
@pytest.mark.parametrize("command", COMMANDS)
def test_a_file_that_cannot_be_used_is_named(command: str, name: str, directory: Path) -> None:
    first, *rest = (name if word == "FILE" else word for word in COMMANDS[command])
    done = headrace(first, *rest, cwd=directory)  # raises what the command should not
    if (command, name) in TAKEN:
        return
    said = done.stdout + done.stderr
    assert done.returncode in (1, 2)
    assert said.startswith((f"{name}:", f"{name} ")) or ("Invalid value" in said and name in said)


@pytest.mark.parametrize(
    "command",
    [
        ("envoy", "config", "policy.yaml", "--output"),
        ("apisix", "config", "policy.yaml", "--output"),
        ("usage", "export", "--store", "redis://127.0.0.1:1"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(("out", "why"), [("none/out", "No such file or directory"), ("folder", "Is a directory")])
def test_a_file_that_cannot_be_written_is_named(command: tuple[str, ...], out: str, why: str, directory: Path) -> None:
    first, *rest = command
    done = headrace(first, *rest, out, cwd=directory)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{out}: cannot be written: ")
    assert why in done.stderr


def test_what_is_written_keeps_the_mode_and_the_link(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert ((tmp_path / "real").read_text(), (tmp_path / "real").stat().st_mode & 0o777) == ("new", 0o640)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "real"]


def test_what_fails_half_way_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ValueError, match="half"), replaced(tmp_path / "file") as beside:
        beside.write_text("ne")
        raise ValueError("half")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_what_is_no_regular_file_is_written_itself(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text(tmp_path / "pipe", "through it")
    assert os.read(reader, 100) == b"through it"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
