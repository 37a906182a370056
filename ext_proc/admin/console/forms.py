"""Forms: their fields, within bounds, and the word that proves that a form was made for the session that sends it."""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from urllib.parse import parse_qsl

from starlette.requests import Request

from headrace.ext_proc.admin.errors import ApiError, Problem, invalid
from headrace.ext_proc.admin.reading import content

MOST_BYTES = 1024 * 1024
"""Of a form as it is sent: a pasted request of 256 KiB whose every byte is written as three."""
MOST_FIELDS = 40
CSRF = "csrf"
_TYPE = "application/x-www-form-urlencoded"


class Words:
    """Makes and checks the word of a session's forms. secret: the process's own, so that words end with it."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, cookie: str) -> str:
        return hmac.new(self._secret, cookie.encode("utf-8", "surrogatepass"), sha256).hexdigest()

    def check(self, cookie: str, given: str) -> None:
        """Raises ApiError."""
        if not cookie or not hmac.compare_digest(self.of(cookie).encode(), given.encode("utf-8", "surrogatepass")):
            raise ApiError("auth.forbidden", "The form was not made for this session, or the service has restarted. Open it again.")


async def fields(request: Request) -> Mapping[str, str]:
    """The fields of a posted form, each given once. Raises ApiError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _TYPE:
        raise ApiError("request.media_type", f"A form is sent as {_TYPE}.")
    try:
        text = (await content(request, MOST_BYTES)).decode()
        pairs = parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text), max_num_fields=MOST_FIELDS, errors="strict")
    except ValueError:
        raise invalid([Problem(where="form", message="it cannot be read")]) from None
    if len(dict(pairs)) != len(pairs):
        raise invalid([Problem(where="form", message="a field is given twice")])
    return dict(pairs)
