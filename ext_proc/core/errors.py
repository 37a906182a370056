"""Errors of the core, each a sentence for the person who reads it."""


class HeadraceError(Exception):
    """Base of all errors that Headrace raises on purpose."""


class ProtocolError(HeadraceError):
    """The proxy sent an event that the exchange's state does not allow. The adapter aborts; it never closes cleanly."""


class StreamError(HeadraceError):
    """The answer's stream cannot be read."""


class BodyError(HeadraceError):
    """A request body that cannot be taken: `status` and `reason` for the reply, `param` the member at fault."""

    def __init__(self, reason: str, message: str, *, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param
        self.status = status
