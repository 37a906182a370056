"""A policy compiled for what it leaves behind: modules, vocabularies, gates. Processes that are forked afterwards have them.

What is left is held by caches whose keys are the contents they were made from, or a file's identity, size and time of change: a
worker that reloads its policy keeps the same. The policy itself is dropped; every worker compiles its own, from the files as they
are then.
"""

import contextlib
import gc
import importlib
import logging
import threading
from pathlib import Path
from time import monotonic, sleep

from headrace.ext_proc.engine.clock import SystemClock
from headrace.ext_proc.engine.memory import give_back
from headrace.ext_proc.engine.offload import ThreadOffload
from headrace.ext_proc.engine.policy.compile import compile_policy
from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.engine.policy.problems import PolicyErrors
from headrace.ext_proc.engine.registry import Ports, Registry
from headrace.ext_proc.engine.warming import load_tables
from headrace.ext_proc.service.fork_server import TASKS
from headrace.ext_proc.stores.memory import MemoryStore

LATER = ("headrace.ext_proc.service.worker_process", "headrace.ext_proc.stores.redis")
"""What workers import besides: no policy is compiled with it."""
LONGEST_S = 10.0
"""For a thread to end. One that goes on keeps workers from being forked, and from nothing else."""
GONE_S = 1.0
"""For threads that have ended to be gone. A library's own may stay, and keep workers from being forked as well."""


def rehearse(path: Path, gateway: str) -> None:
    """What the policy in `path` needs, as far as it can be had; what is wrong with it is for a worker to say.

    Only our own filters: what another package starts when it is imported might not survive a fork. No model is loaded.
    """
    gc.freeze()  # what was loaded until now is not searched for garbage
    logging.disable()
    try:
        _leave(path, Gateway(gateway))
    finally:
        logging.disable(logging.NOTSET)
    gc.collect()
    _join()
    gc.freeze()  # or a worker's collections write to every object's page, and have a copy of it
    give_back()


def _leave(path: Path, gateway: Gateway) -> None:
    """Compiles the policy, and drops it. Its gates are compiled on threads while the rest is loaded."""
    offload = ThreadOffload()
    policy = None
    with contextlib.suppress(PolicyErrors):
        policy = compile_policy(path, Registry.own(), Ports(MemoryStore(), SystemClock(), offload), gateway)
    for module in LATER:
        importlib.import_module(module)
    if policy is not None:
        load_tables(policy, offload)


def _join() -> None:
    """Waits for what is compiled on threads: a process that has some cannot be forked.

    A thread that has been joined is a moment from its end: the system has it until then.
    """
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(LONGEST_S)
    until = monotonic() + GONE_S
    while len(list(TASKS.iterdir())) > 1 and monotonic() < until:
        sleep(0.001)
