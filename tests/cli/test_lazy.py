"""The command line is there at once: what a command needs is imported when it is called."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from headrace.ext_proc.cli.lazy import COMMANDS, PACKAGE, load
from tests.cli.command import headrace

HEAVY = {"grpc", "presidio_analyzer", "redis", "starlette", "uvicorn", "opentelemetry", "envoy_data_plane", "toktok"}
LOADED = """
import sys
from headrace.ext_proc.cli import main
try:
    main()
finally:
    print(*sys.modules)
"""


def installed() -> list[str]:
    folder = Path(sys.modules[PACKAGE].__path__[0])
    return [name for name, (module, _) in COMMANDS.items() if (folder / module).exists() or (folder / f"{module}.py").exists()]


def test_help_names_every_command_there_is(tmp_path: Path) -> None:
    shown = headrace("--help", cwd=tmp_path).stdout
    assert {"serve", "up"} <= set(installed())
    for name in COMMANDS:
        assert (f" {name} " in shown) == (name in installed()), name


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["up", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    program = [sys.executable, "-c", LOADED, *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=60, check=True)
    assert HEAVY & set(done.stdout.split()) == set()


@pytest.mark.parametrize("name", installed())
def test_every_command_can_be_loaded_and_has_a_help(name: str) -> None:
    command = load(name)
    assert command.name == name
    assert command.help or command.commands


def test_the_version_is_the_packages(tmp_path: Path) -> None:
    assert headrace("--version", cwd=tmp_path).stdout == f"headrace {version('headrace')}\n"


def test_a_word_that_is_no_command_is_refused(tmp_path: Path) -> None:
    done = headrace("serv", cwd=tmp_path)
    assert done.returncode == 2
    assert "serve" in done.stderr


def test_commands_do_not_offer_to_install_completion(tmp_path: Path) -> None:
    assert "completion" not in headrace("serve", "--help", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "nowhere"], "--listen: 'nowhere' is neither host:port nor the absolute path"),
        (["--listen", "127.0.0.1:99999"], "--listen: '127.0.0.1:99999': ports end at 65535"),
        (["--listen", f"unix:/{'x' * 200}"], "a Unix socket's path has at most 107 bytes"),
        (["--admin", "nowhere"], "--admin: 'nowhere' is neither host:port"),
        (["--tls-cert", "a.pem"], "--tls-cert: TLS needs both --tls-cert and --tls-key"),
        (["--tls-cert", "a.pem", "--tls-key", "a.pem"], "--tls-cert: a.pem: cannot be read: No such file or directory"),
        (["--otlp", "collector"], "--otlp: 'collector' is no URL such as http://127.0.0.1:4318"),
        (["--store", "memory://"], "--store: memory:// is no store that processes share"),
        (["--store", "redis://:pass/word@host"], "store URL: host and port cannot be read; a password's : / ? #"),
        (["--socket-mode", "rw"], "octal"),
        (["--log-level", "loud"], "none of debug, info, warning, error"),
        (["--workers", "0"], "--workers"),
        (["--store", "ftp://x"], "'ftp' is none of unix, redis, rediss, redis+cluster"),
    ],
)
def test_what_serve_cannot_take_is_said(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = headrace("serve", "policy.yaml", *arguments, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr
