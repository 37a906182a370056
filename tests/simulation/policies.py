"""The policies of the simulation: one for each way in which an answer, a failure or an outage is dealt with."""

import atexit
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

from headrace.ext_proc.engine.policy import compile as compiler
from headrace.ext_proc.engine.policy.compile import Policy, compile_policy
from headrace.ext_proc.engine.policy.lines import parse
from headrace.ext_proc.engine.registry import GROUP, Ports, Registry
from headrace.filters.pii.filter import PiiFilter
from headrace.filters.pii.memo import Memory


@dataclass(frozen=True)
class Way:
    """restores: values come back. scrubs: what the model came up with is taken out. counted: nothing passes uncounted."""

    pii: str
    budget: str = ""
    on_error: str = "closed"
    restores: bool = True
    scrubs: bool = False
    counted: bool = True


WAYS: Mapping[str, Way] = {
    "scrubbing": Way("request: replace, response: redact, restore: true", scrubs=True),
    "restoring": Way("request: replace, restore: true"),
    "passing": Way("request: mask, restore: false", restores=False),
    "lenient": Way("request: replace, restore: true", "on_store_down: open", "open", counted=False),
    "local": Way("request: mask, restore: false", "on_store_down: local, local_percent: 20", restores=False, counted=False),
    "cutting": Way("request: replace, restore: true", "on_exhausted: cut, step_tokens: 16"),
}

LEASE_S = 600

_TEXT = """\
version: 1
upstreams:
  near: {{url: "http://127.0.0.1:1"}}
  far: {{url: "http://127.0.0.1:2"}}
models:
  - name: m
    tokenizer: o200k_base
    context: 131072
    price: {{input: 1, output: 2}}
    max_output: 48
    pools: [{{upstream: near, max_tokens: 120}}, {{upstream: far}}]
identity:
  - headers: {{organisation: x-org, team: x-team, user: x-user}}
budgets:
  - {{name: team-minute, per: [team], limit: {{tokens: 1500}}, window: minute}}
  - {{name: user-sliding, per: [team, user], limit: {{usd: 0.0015}}, window: {{sliding: 300}}}}
  - {{name: requests, per: [organisation], limit: {{requests: 40}}, window: hour}}
  - {{name: at-once, per: [team], limit: {{concurrency: 6}}}}
filters:
  - first: {{label: {label}}}
  - identity: {{}}
  - saboteur: {{on_error: {way.on_error}}}
  - pii: {{{way.pii}, entities: [EMAIL_ADDRESS, CREDIT_CARD], model: none, layers: [], key_file: key}}
  - budget: {{lease_seconds: {lease}{budget}}}
  - routing: {{}}
  - last: {{label: {label}}}
"""


@cache
def _directory() -> Path:
    """With every policy's file. Their contents, and so their revisions, are the same in every process."""
    directory = Path(mkdtemp(prefix="headrace-simulation-"))
    atexit.register(rmtree, directory, ignore_errors=True)
    (directory / "key").write_bytes(b"simulation" * 4)
    for label, way in WAYS.items():
        budget = f", {way.budget}" if way.budget else ""
        (directory / f"{label}.yaml").write_text(_TEXT.format(label=label, way=way, lease=LEASE_S, budget=budget))
    return directory


@cache
def _registry() -> Registry:
    ours = [EntryPoint(name, f"tests.simulation.filters:{name.title()}", GROUP) for name in ("first", "saboteur", "last")]
    installed = [EntryPoint(name, value, GROUP) for name, value in _INSTALLED.items()]
    return Registry([*ours, *installed])


_INSTALLED = {
    "identity": "headrace.filters.identity:IdentityFilter",
    "pii": "headrace.filters.pii:PiiFilter",
    "budget": "headrace.filters.budget:BudgetFilter",
    "routing": "headrace.filters.routing:RoutingFilter",
    "usage": "headrace.filters.usage:UsageFilter",
}


LABELS: dict[str, str] = {}
"""By the revision of the policies that were compiled here."""


def compiled(ports: Ports, label: str) -> Policy:
    """The policy for one worker."""
    compiler.parse = _parsed  # type: ignore[attr-defined]  # YAML takes four fifths of a compile, and is the same every time
    policy = compile_policy(_directory() / f"{label}.yaml", _registry(), ports)
    LABELS[policy.revision] = label
    _forget(policy.filters)
    return policy


_parsed = cache(parse)


def _forget(filters: Iterable[object]) -> None:
    """A detector is shared by all policies of a process; what it remembers would decide whether a search is offloaded."""
    for filter in filters:
        if isinstance(filter, PiiFilter):
            filter._equipment.requests.detector._memory = Memory()
