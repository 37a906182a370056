"""What can go wrong with an audit log, each a sentence for its operator."""

from headrace.ext_proc.core.errors import HeadraceError


class AuditError(HeadraceError):
    """The audit log cannot be used: its directory, its keys."""


class NoAuditLog(AuditError):
    """The policy has none."""


class AuditFull(AuditError):
    """The disk space that the policy gives the audit log is used up."""


class AuditUnavailable(AuditError):
    """A record is not on disk within the time that a request may wait for it."""


class KeyGone(AuditError):
    """The data key of a body is erased, or this master key does not open it."""
