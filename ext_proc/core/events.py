"""What an adapter tells the exchange, and what the exchange answers. Values; no wire format."""

from collections.abc import Mapping
from enum import Enum
from typing import Any

from msgspec import Struct, field

from headrace.ext_proc.core.headers import Headers
from headrace.ext_proc.core.verdict import NO_EDITS, Edits, Metadata

# --- events: from the proxy ------------------------------------------------------------------------------------------------


class RequestHeaders(Struct, frozen=True):
    headers: Headers
    end: bool = False
    """No body follows."""
    hint: Any = None
    """The servers the request may go to, as the gateway says it; None where it says nothing."""
    vouched: Any = None
    """Who calls, as the gateway has found out itself: parts of a principal by name; None where it says nothing."""


class RequestBody(Struct, frozen=True):
    """The whole body: adapters collect it, up to a limit of theirs. too_large: it went beyond that; `data` is not it."""

    data: bytes
    too_large: bool = False


class ResponseHeaders(Struct, frozen=True):
    status: int
    headers: Headers
    end: bool = False
    from_upstream: bool = True
    """False for the proxy's own replies: never bill, cache or translate those."""
    upstream: str = ""
    """Who answered; empty where the proxy does not say."""
    server: str = ""
    """Which of its servers, as ip:port; empty where the proxy does not say."""


class ResponseBody(Struct, frozen=True):
    """A chunk of the answer, cut anywhere."""

    data: bytes
    end: bool = False


class ResponseTrailers(Struct, frozen=True):
    """The answer ends with trailers; the body before them is complete."""


class Reading(Enum):
    """How the answer's body is to come."""

    WHOLE = "whole"
    """In one ResponseBody, its headers held until it is delivered."""
    STREAM = "stream"
    """Chunk by chunk, the headers sent on."""


Event = RequestHeaders | RequestBody | ResponseHeaders | ResponseBody | ResponseTrailers

# --- answers: to the proxy -------------------------------------------------------------------------------------------------


class Proceed(Struct, frozen=True):
    """Go on after headers or a request body.

    body: the new request body, None to leave it. metadata: for the namespace `headrace`. read: after response headers, how the body
    is wanted. last: Headrace has no more interest in this exchange; the adapter ends its stream cleanly. Nothing else may end it
    cleanly.
    """

    edits: Edits = NO_EDITS
    body: bytes | None = None
    metadata: Metadata = field(default_factory=dict)
    read: Reading | None = None
    last: bool = False


class Refuse(Struct, frozen=True):
    """Answer the caller with this status, these headers and this body, instead of the upstream."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    reason: str


class Hold(Struct, frozen=True):
    """Nothing to answer yet; the proxy waits (the answer is being collected)."""


class Deliver(Struct, frozen=True):
    """Part of the answer, in place of what came in; all of it, where it was read whole.

    headers: edits of the answer's headers when they were held until now, else None; the adapter sees to content-length. end: the
    answer ends here, whatever the upstream still sends. trailers: the event was the trailers; they follow unchanged. same: `data`
    is what came in, byte for byte.
    """

    data: bytes
    end: bool = False
    headers: Edits | None = None
    trailers: bool = False
    same: bool = False


Answer = Proceed | Refuse | Hold | Deliver
