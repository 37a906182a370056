"""What `headrace serve` is told."""

from dataclasses import dataclass
from pathlib import Path

from headrace.ext_proc.engine.policy.gateways import Gateway
from headrace.ext_proc.envoy.config.settings import Address
from headrace.ext_proc.envoy.transport import DEFAULT, Tls, Transport
from headrace.ext_proc.service.addresses import OWNER_ONLY

DRAIN_S = 300.0
"""Longer than most streams last, and what Kubernetes must be told in terminationGracePeriodSeconds (plus a few seconds)."""


@dataclass(frozen=True, slots=True)
class Options:
    """store: a URL, never the word `embedded`. admin: None for no admin interface. admin_tls: its certificate.

    log: where the workers' standard error goes.
    """

    policy: Path
    listen: Address
    store: str
    workers: int = 1
    admin: Address | None = None
    decisions: str = ""
    otlp: str = ""
    log_level: str = "info"
    drain_seconds: float = DRAIN_S
    log: Path | None = None
    socket_mode: int = OWNER_ONLY
    transport: Transport = DEFAULT
    tls: Tls | None = None
    gateway: Gateway = Gateway.ENVOY
    admin_tls: Tls | None = None
