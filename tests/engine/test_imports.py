"""What a service does without is not imported; what stands in for it becomes the real thing when it is used."""

import gc
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from headrace.ext_proc.engine.imports import UNUSED, absent, deferred, imported

WITHOUT_MODEL = """
version: 1
models: [{name: m, tokenizer: o200k_base, context: 1000}]
identity: [{headers: {team: x-team, user: x-user}}]
budgets: [{name: day, per: [team, user], limit: {requests: 5}, window: day}]
filters: [{identity: {}}, {pii: {request: replace, model: none}}, {budget: {}}]
"""
WORKER = """
import sys
from pathlib import Path
from headrace.ext_proc.service import worker_process
from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.service.worker import compiled
from headrace.ext_proc.stores import open_store
compiled(Path(sys.argv[1]), Registry.installed(), Ports(open_store("unix:///nowhere"), SystemClock(), ThreadOffload()))
print(*sys.modules)
"""
FORK_SERVER = """
import os, socket, sys
from headrace.ext_proc.service import fork_server
from headrace.ext_proc.service.orders import preparing
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ours.send(preparing(os.fsencode(sys.argv[1]), "envoy"))
ours.close()
sys.argv[1] = str(theirs.detach())
fork_server.main()
print(*sys.modules)
"""
SUPERVISOR = """
import sys, uvloop
from headrace.ext_proc import cli
def run(service):
    service.close()
    import headrace.ext_proc.service.admin
    print(*sys.modules)
    return 0
uvloop.run = run
sys.argv = ["headrace", "serve", sys.argv[1], "--log-level", "error", "--listen", "unix:/nowhere", "--store", "redis://127.0.0.1:1"]
cli.main()
"""
STAND_IN = """
import sys
from headrace.filters.pii import presidio
from presidio_analyzer import analyzer_engine, predefined_recognizers
assert "presidio_analyzer.nlp_engine" not in sys.modules and "spacy" not in sys.modules
none = analyzer_engine.NoOpNlpEngine(models=[{"lang_code": "en", "model_name": "none"}])
engine = analyzer_engine.AnalyzerEngine(nlp_engine=none, supported_languages=["en"])
assert isinstance(engine.nlp_engine, analyzer_engine.NoOpNlpEngine)
print(*sys.modules)
"""


AHEAD = """
import sys
from headrace.ext_proc.engine.imports import ahead
part = ahead("wsgiref.headers")
assert "wsgiref" not in sys.modules and part.__name__ == "wsgiref.headers"
from wsgiref import headers
from wsgiref.headers import Headers
assert headers is ahead("wsgiref.headers") is part and Headers is part.Headers
try:
    ahead("wsgiref.none")
except ModuleNotFoundError as error:
    print(error.name)
"""


def modules(program: str, *arguments: str) -> set[str]:
    command = [sys.executable, "-c", program, *arguments]
    return set(subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout.split())


@pytest.mark.parametrize("program", [WORKER, FORK_SERVER], ids=["spawned", "forked"])
def test_a_worker_without_a_model_imports_no_models_and_no_command_line(tmp_path: Path, program: str) -> None:
    (tmp_path / "policy.yaml").write_text(WITHOUT_MODEL)
    loaded = modules(program, str(tmp_path / "policy.yaml"))
    assert {"presidio_analyzer", "toktok", "redis.asyncio", "headrace.ext_proc.service.worker"} <= loaded
    unwanted = {"spacy", "numpy", "onnxruntime", "requests", "httpx", "joserfc", "rich", "typer", "grpc", "openai", "starlette"}
    unwanted |= {"cryptography.hazmat", "opentelemetry", "filelock", "multiprocessing", "prometheus_client"}
    assert unwanted & loaded == set()


def test_presidio_imports_no_models_and_services_where_they_are_installed(tmp_path: Path) -> None:
    for name in ("torch", "transformers", "gliner", "langextract"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)")
    modules(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import headrace.filters.pii.presidio")


def test_the_supervisor_imports_neither_filters_engines_nor_the_demo(tmp_path: Path) -> None:
    loaded = modules(SUPERVISOR, str(tmp_path / "policy.yaml"))
    assert {"headrace.ext_proc.admin.app", "headrace.ext_proc.stores.embedded"} <= loaded
    assert {"presidio_analyzer", "spacy", "openai", "grpc", "opentelemetry.metrics"} & loaded == set()


def test_presidio_still_has_its_engines_when_somebody_uses_them() -> None:
    assert "presidio_analyzer.nlp_engine" in modules(STAND_IN)


def test_a_module_that_comes_ahead_of_its_package_is_the_one_that_the_package_has() -> None:
    assert modules(AHEAD) == {"wsgiref.none"}


def test_what_is_absent_is_not_found_and_is_there_again_afterwards() -> None:
    sys.modules.pop("this", None)
    with absent("this", "json"), pytest.raises(ModuleNotFoundError):
        __import__("this")
    assert "this" not in sys.modules
    with absent("json"):
        assert __import__("json") is sys.modules["json"]


def test_a_name_of_a_deferred_module_is_its_real_one_when_it_is_used() -> None:
    sys.modules.pop("colorsys", None)
    with deferred("colorsys"):
        from colorsys import rgb_to_hsv
    assert "colorsys" not in sys.modules
    assert rgb_to_hsv(1, 1, 1) == (0.0, 0.0, 1)
    assert "colorsys" in sys.modules


def test_simulated_pools_run_beside_the_admin_interface_whichever_is_imported_first() -> None:
    for first, second in (("service.admin", "cli.simulate.server"), ("cli.simulate.server", "service.admin")):
        modules(f"import headrace.ext_proc.{first}, headrace.ext_proc.{second}")


@pytest.mark.parametrize("collects", [True, False])
def test_nothing_is_searched_for_garbage_while_a_module_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, collects: bool
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "headrace_quiet", raising=False)
    (tmp_path / "headrace_quiet.py").write_text("import gc; collected = gc.isenabled()")
    (tmp_path / "headrace_broken.py").write_text("raise RuntimeError")
    try:
        (gc.enable if collects else gc.disable)()
        assert imported("headrace_quiet").collected is False
        assert gc.isenabled() is collects
        with pytest.raises(RuntimeError):
            imported("headrace_broken")
        assert gc.isenabled() is collects
    finally:
        gc.enable()


def test_what_is_hidden_exists() -> None:
    """A library that has moved such a module would be imported with all it brings, and nobody would notice."""
    assert all(importlib.util.find_spec(name) for name in UNUSED)
