"""Who calls: the principal an identity filter found, and the fact it is kept under."""

from collections.abc import Mapping
from functools import lru_cache

from msgspec import Struct

from headrace.ext_proc.core.facts import Fact

DEFAULT_ORGANISATION = "default"
# Bounds what one name adds to store keys, logs and metadata; OAuth subjects and e-mail addresses stay well under it.
MAX_PART = 256


class Principal(Struct, frozen=True):
    """The caller. None where the source of its identity does not say.

    key: the id of the API key it showed, or what the identity provider calls so; never the key itself.
    """

    organisation: str = DEFAULT_ORGANISATION
    team: str | None = None
    app: str | None = None
    user: str | None = None
    key: str | None = None


LEVELS = ("organisation", "team", "app", "user", "key")

ANONYMOUS = Principal()
"""What filters assume when no identity filter has run."""

PRINCIPAL: Fact[Principal] = Fact("principal")


def members_of(principal: Principal) -> dict[str, str]:
    """What is known of the caller, for records."""
    return {**known_members(principal)}


@lru_cache(4096)  # the same callers come again
def known_members(principal: Principal) -> Mapping[str, str]:
    """The same to look at; it is everybody's."""
    parts = ((level, getattr(principal, level)) for level in LEVELS)
    return {level: value for level, value in parts if value}


def is_part(value: str) -> bool:
    """Whether `value` may name a part of a principal: 1 to 256 printable characters, no braces, no blank at the ends."""
    # Braces: the organisation is the hash tag of a store key. What is not printable would end up in logs.
    return 0 < len(value) <= MAX_PART and value.isprintable() and value == value.strip() and not set(value) & {"{", "}"}
