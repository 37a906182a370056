"""Who is logged in: sessions in memory, each of one admin token, which is asked for in the store at every request besides."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

LASTS = timedelta(hours=8)
"""A working day; then the token must be shown again."""
IDLE = timedelta(minutes=30)
"""Without a page asked for by a person; what a page asks for by itself does not count."""
MOST = 1_000
"""Sessions kept, half a kilobyte each; the one that was used longest ago goes first."""


@dataclass(slots=True)
class Session:
    """token: the id of the admin token. notice: told on the next page, once, and whether it is
    about something that went wrong.
    """

    token: str
    begun: datetime
    used: datetime
    notice: tuple[str, bool] | None = None

    def is_over(self, now: datetime) -> bool:
        return now - self.begun >= LASTS or now - self.used >= IDLE


class Sessions:
    """By the secret in the browser's cookie, of which a digest is kept."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, Session] = OrderedDict()

    def begin(self, token: str, now: datetime) -> str:
        """The secret of a new session."""
        secret = secrets.token_urlsafe(32)
        self._known[_digest(secret)] = Session(token, now, now)
        while len(self._known) > MOST:
            self._known.popitem(last=False)
        return secret

    def of(self, secret: str, now: datetime, *, by_person: bool) -> Session | None:
        """None for one that is not known, or is over. by_person: it is used, and lasts for IDLE from now on."""
        key = _digest(secret)
        session = self._known.get(key)
        if session is None:
            return None
        if session.is_over(now):
            del self._known[key]
            return None
        if by_person:
            session.used = now
            self._known.move_to_end(key)
        return session

    def end(self, secret: str) -> None:
        """One that is not known is over already."""
        self._known.pop(_digest(secret), None)


def _digest(secret: str) -> bytes:
    return sha256(secret.encode("utf-8", "surrogatepass")).digest()
