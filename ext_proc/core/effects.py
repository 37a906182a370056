"""What follows from an exchange, as values; the engine's EffectRunner carries them out."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from msgspec import Struct, field

from headrace.ext_proc.core.price import Price
from headrace.ext_proc.core.usage import Usage


class Cause(Enum):
    """How an exchange ended."""

    HANDED_OFF = "handed_off"
    """We closed the stream cleanly after the request; the gateway goes on without us and reports in its access log."""
    REFUSED = "refused"
    """We answered the caller ourselves."""
    COMPLETED = "completed"
    """The answer went through us to its end."""
    CUT = "cut"
    """We ended a stream in-band."""
    ABORTED = "aborted"
    """The proxy went away first: a client that hung up, an upstream that died, a proxy that was stopped."""
    FAILED = "failed"
    """An error of ours or of the protocol; the stream was aborted."""


class Outcome(Struct, frozen=True):
    """How it ended, for the sessions' `close`.

    status: of the upstream's answer, None when none was seen. usage: what the provider reported to us of the whole call, None when
    it did not or when the answer did not pass through us. streamed: the words of the answer that passed through us. forwarded: the
    request was sent on to the gateway's upstream. server: who answered, as ip:port, where the gateway says so. input_tokens: what
    the provider reported of the prompt, be it without the answer's part; else 0.
    """

    cause: Cause
    status: int | None = None
    usage: Usage | None = None
    streamed: str = ""
    forwarded: bool = False
    server: str = ""
    input_tokens: int = 0


class Settle(Struct, frozen=True):
    """The lease's real usage; `usage` None leaves the reserved amount standing. Idempotent by lease.

    lease: None where no budget reserved anything; then the usage is only recorded. reserved: what stands where `usage` is None.
    context: what else the record shows.
    """

    organisation: str
    lease: str | None
    usage: Usage | None
    price: Price | None = None
    reserved: Usage | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


class Release(Struct, frozen=True):
    """The call cost nothing. Idempotent by lease."""

    organisation: str
    lease: str
    context: Mapping[str, Any] = field(default_factory=dict)


class Record(Struct, frozen=True):
    """One line of the decision log: `kind` is `decision` or `settlement`; never a prompt's or an answer's text."""

    kind: str
    members: Mapping[str, Any] = field(default_factory=dict)


Effect = Settle | Release | Record
