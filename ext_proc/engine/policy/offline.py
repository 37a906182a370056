"""A policy compiled by itself, for those who look at it and serve nobody."""

from pathlib import Path

from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.compile import Policy, compile_policy
from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.stores.memory import MemoryStore


def compiled(path: Path, gateway: Gateway = Gateway.ENVOY, store: MemoryStore | None = None) -> Policy | PolicyErrors:
    """The policy in `path`, compiled without a network. store: what its filters count in; one of its own unless it is given."""
    try:
        ports = Ports(MemoryStore() if store is None else store, SystemClock(), ThreadOffload())
        return compile_policy(path, Registry.installed(), ports, gateway)
    except PolicyErrors as errors:
        return errors
