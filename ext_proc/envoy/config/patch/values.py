"""What the patch is given, and what it tells."""

from dataclasses import dataclass, field

from headrace.ext_proc.envoy.config.names import BODY_LIMIT, UsageReader
from headrace.ext_proc.envoy.config.settings import Address


@dataclass(frozen=True)
class Attachment:
    """How Headrace is attached. Sizes are bytes, durations seconds."""

    service: tuple[Address, ...]
    """One endpoint per worker of the service."""

    listeners: frozenset[str] = frozenset()
    """Names of the listeners to patch; all that handle HTTP when it is empty."""

    body_limit: int = BODY_LIMIT
    message_timeout: float = 5.0
    usage: UsageReader = UsageReader.GATEWAY


@dataclass
class Report:
    """What was changed, and what only the operator can do; lines that people read."""

    changes: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unrouted: list[str] = field(default_factory=list)
    """Listeners none of whose routes matches what routing decides."""
