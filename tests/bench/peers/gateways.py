"""The rows of the table: what runs, how it is configured, and how it is started before one upstream."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench import gateways as own
from tests.bench.gateways import LOOPBACK, first_answer, nothing_to_settle, service
from tests.bench.processes import PROC, tied
from tests.bench.rounds import Gateway
from tests.bench.upstream import free_port, listening

from . import litellm, presidio
from .environment import node_peer, python_peer

HERE = Path(__file__).parent
KEY = "sk-bench"
PATIENCE = 120.0  # seconds: LiteLLM takes 15 alone, and all start at once, on the same processors
Running = contextlib.AbstractAsyncContextManager[Gateway]
Start = Callable[[str, Path], Running]
"""From the upstream's URL and an empty folder. CannotInstallError and RuntimeError (it does not answer) say why there is none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One gateway in one configuration. configured: what it does, for the table. tight: with a budget for ten answers.

    needs: what installs its packages; CannotInstallError says why there are none.
    """

    name: str
    configured: str
    start: Start
    tight: Start | None = None
    needs: Sequence[Callable[[], Path]] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A program that serves the API, ready to be run."""

    command: Sequence[str]
    url: str
    env: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


Make = Callable[[str, Path], Command]


@contextlib.asynccontextmanager
async def run(name: str, made: Make, upstream: str, directory: Path) -> AsyncIterator[Gateway]:
    """A program that has answered a first request."""
    command, log = made(upstream, directory), directory / "gateway.log"
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")} | dict(command.env)
    async with service(tied(*command.command), log, env=env, cwd=directory) as pid:
        await _up(pid, command.url, log)
        gateway = Gateway(name, command.url, {"gateway": pid}, KEY, nothing_to_settle, command.headers)
        if (answer := await first_answer(gateway, PATIENCE)).status_code != 200:
            raise RuntimeError(f"{name} does not answer: {answer.status_code} {answer.text[:200]}\n{_last(log)}")
        yield gateway


def _last(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


async def _up(pid: int, url: str, log: Path) -> None:
    """Returns when something listens at `url`. RuntimeError when the process ends before, or does not get there."""
    waiting = asyncio.create_task(listening(urlsplit(url).port or 80))
    try:
        async with asyncio.timeout(PATIENCE):
            while not waiting.done() and (PROC / str(pid)).exists():
                await asyncio.wait([waiting], timeout=0.2)
    except TimeoutError:
        pass
    if not waiting.done():
        waiting.cancel()
        raise RuntimeError(f"it did not listen within {PATIENCE:.0f} s, or ended: {_last(log)}")


@contextlib.asynccontextmanager
async def headrace(name: str, policy: Path, upstream: str, directory: Path) -> AsyncIterator[Gateway]:
    """Envoy and the service, as `make bench` runs them."""
    async with own.run(own.plan_headrace(upstream, directory, policy=policy), directory, PATIENCE) as gateway:
        yield Gateway(name, gateway.url, gateway.roots, gateway.key, gateway.settled)


@contextlib.asynccontextmanager
async def alone(upstream: str, directory: Path) -> AsyncIterator[Gateway]:
    """The upstream without a gateway: what the others add their times to."""
    yield Gateway("direct", upstream, {}, KEY, nothing_to_settle)


@contextlib.asynccontextmanager
async def with_presidio(name: str, upstream: str, directory: Path) -> AsyncIterator[Gateway]:
    """LiteLLM and a Presidio service, whose CPU and memory are the gateway's, too."""
    made = python_peer("presidio")
    url = f"http://{LOOPBACK}:{(port := free_port())}"
    command = (str(made / "python"), "-I", str(Path(presidio.__file__)), str(port))
    async with service(tied(*command), (log := directory / "presidio.log")) as pid:
        await _up(pid, url, log)
        config = partial(_litellm, guardrails=litellm.presidio(url))
        async with run(name, config, upstream, directory) as gateway:
            yield Gateway(name, gateway.url, {**gateway.roots, "presidio": pid}, KEY, nothing_to_settle)


def _litellm(upstream: str, directory: Path, guardrails: str = "", budget: float | None = None) -> Command:
    made, port = python_peer("litellm"), free_port()
    config = directory / "config.yaml"
    config.write_text(litellm.config(upstream, KEY, guardrails=guardrails, budget=budget))
    options = ("--config", str(config), "--host", LOOPBACK, "--port", str(port), "--num_workers", "1", "--telemetry", "False")
    return Command((str(made / "litellm"), *options), f"http://{LOOPBACK}:{port}", {**litellm.ENVIRONMENT, "HOME": str(directory)})


def _portkey(upstream: str, directory: Path) -> Command:
    made, port = node_peer("portkey"), free_port()
    program = made / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{upstream}/v1"}
    options = ("--headless", f"--port={port}")
    url = f"http://{LOOPBACK}:{port}"
    return Command(("node", str(program), *options), url, {"NODE_ENV": "production", "HOME": str(directory)}, headers)


def _shield(upstream: str, directory: Path) -> Command:
    made, port = python_peer("shield"), free_port()
    env = {
        "UPSTREAM_BASE_URL": f"{upstream}/v1",
        "UPSTREAM_API_KEY": "unused",
        "VALID_VIRTUAL_KEYS": KEY,
        "ENABLE_RESPONSE_PII_REDACTION": "true",
        "ANONYMOUS_USAGE_TRACKING": "false",
        "ENABLE_EXT_PROC": "false",
        "LOG_LEVEL": "ERROR",
        "HOME": str(directory),
    }
    options = ("--host", LOOPBACK, "--port", str(port))
    return Command((str(made / "llm-shield-proxy"), *options), f"http://{LOOPBACK}:{port}", env)


LITELLM, PRESIDIO, SHIELD = (partial(python_peer, name) for name in ("litellm", "presidio", "shield"))
PORTKEY = partial(node_peer, "portkey")


def _row(need: Callable[[], Path], name: str, configured: str, made: Make, tight: Make | None = None) -> Row:
    return Row(name, configured, partial(run, name, made), partial(run, name, tight) if tight else None, (need,))


DIRECT = Row("direct", "no gateway: the load straight to the upstream", alone)

ROWS: Sequence[Row] = (
    Row(
        "headrace",
        "Envoy with one thread, one worker, a private Valkey. API key, 3 levels of budgets in 2 windows each, token count, "
        "PII patterns replaced in prompts and redacted in answers, no model, routing by size, settlement from Envoy's access log",
        partial(headrace, "headrace", HERE / "policy.yaml"),
        partial(headrace, "headrace", HERE / "tight.yaml"),
    ),
    Row(
        "headrace, prompts only",
        "the same, answers read only where a prompt's values are put back: the policy of `make bench`",
        partial(headrace, "headrace, prompts only", own.POLICY),
    ),
    _row(LITELLM, "litellm, key", "one worker; its master key and nothing else", _litellm),
    _row(
        LITELLM,
        "litellm, content filter",
        f"the same with its guardrail `litellm_content_filter` on prompts and answers: "
        f"{len(litellm.PATTERNS)} of its patterns, masked",
        partial(_litellm, guardrails=litellm.content_filter()),
    ),
    Row(
        "litellm, Presidio",
        "the same with its guardrail `presidio` on prompts and answers, five entities masked. Presidio's analyzer, with spaCy's "
        "small English model, and anonymizer in one process behind HTTP interfaces of the bench: its own are in container images",
        partial(with_presidio, "litellm, Presidio"),
        needs=(LITELLM, PRESIDIO),
    ),
    _row(
        LITELLM,
        "litellm, budget",
        "the master key, and a budget in USD of the deployment (`max_budget`), kept in LiteLLM's memory",
        partial(_litellm, budget=100_000.0),
        partial(_litellm, budget=litellm.TIGHT),
    ),
    _row(PORTKEY, "portkey", "one Node process, nothing but proxying: no key of its own, no guardrails, no budgets", _portkey),
    _row(
        SHIELD,
        "llm-shield-proxy",
        "one worker; its virtual keys, PII replaced in prompts and restored, `ENABLE_RESPONSE_PII_REDACTION`, all else as it comes",
        _shield,
    ),
)

UNAVAILABLE: Mapping[str, str] = {
    "litellm, key budgets in Postgres": "LiteLLM reaches Postgres through Prisma, whose query engine is in no package registry: "
    "`prisma generate` downloads the binary from Prisma's own host, which could not be reached",
}
