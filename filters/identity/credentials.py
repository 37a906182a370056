"""The credential a caller shows: one, or none. Whoever shows two is refused, because two readers may take different ones."""

from headrace.ext_proc.core.errors import HeadraceError
from headrace.ext_proc.core.headers import Headers

# OpenAI and most others, Anthropic, Azure.
CREDENTIAL_HEADERS = ("authorization", "x-api-key", "api-key")
MAX_CREDENTIAL = 16 * 1024  # tokens of large directories reach 8 KB


class Unclear(HeadraceError):
    """The headers do not show one credential; the message says why, without repeating any."""


def credential(headers: Headers) -> str | None:
    """The credential in the request's headers; None when there is none. Raises Unclear."""
    shown = {name: secret for name in CREDENTIAL_HEADERS if name in headers and (secret := _secret(headers, name)) is not None}
    if len(shown) > 1 and len(set(shown.values())) > 1:
        raise Unclear(f"The headers {' and '.join(shown)} hold different credentials; send one.")
    return next(iter(shown.values()), None)


def single(headers: Headers, name: str) -> str | None:
    """The value of a header that may be given once; None when it is absent. Raises Unclear."""
    if name not in headers:
        return None
    values = headers.get_all(name)
    if len(values) > 1:
        raise Unclear(f"The header {name} is given {len(values)} times; send it once.")
    return values[0].strip()


def _secret(headers: Headers, name: str) -> str | None:
    value = single(headers, name)
    if value is not None and name == "authorization":
        value = _bearer(value)
    if not value:
        return None
    if len(value) > MAX_CREDENTIAL:
        raise Unclear(f"The credential in {name} is longer than {MAX_CREDENTIAL} characters.")
    if not value.isascii() or not value.isprintable() or " " in value or "," in value:
        raise Unclear(f"The credential in {name} has a character that no key and no token has.")
    return value


def _bearer(value: str) -> str | None:
    """The token of a Bearer credential; other schemes are none of ours."""
    scheme, _, token = value.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
