"""What must leave the proxy for a filter to do its work, and what an adapter can do. Every bit of Needs has a price."""

from enum import Flag, auto


class Needs(Flag):
    """What one session must see beyond the request headers, which come anyway."""

    NOTHING = 0
    REQUEST_BODY = auto()
    RESPONSE_HEADERS = auto()
    RESPONSE_BODY = auto()
    """The whole answer, when it is not a stream."""
    RESPONSE_STREAM = auto()
    """The answer event by event, when it is a stream."""


RESPONSE = Needs.RESPONSE_HEADERS | Needs.RESPONSE_BODY | Needs.RESPONSE_STREAM
"""Any of these keeps the exchange in the response phase."""


class Capability(Flag):
    """What the gateway in front does by itself, as its adapter states it."""

    NOTHING = 0
    ACCESS_LOG = auto()
    """The gateway reads `usage` of answers itself and reports it, with our metadata, in an access log that we receive."""
    FAILOVER = auto()
    """The gateway asks the next candidate where one fails, and calls us for every attempt that needs it."""
    CALLS_ONLY = auto()
    """The gateway calls a model with whatever it is sent, whichever the path: what names no call here may not reach it."""
    TRIAL = auto()
    """There is no gateway: nothing is sent, and whoever asks wants every number, also one that decides nothing."""

    def __contains__(self, other: "Capability") -> bool:
        return self._value_ & other._value_ == other._value_  # enum's own costs three times as much
