"""Who calls the admin API, by the bearer token they show, and whether they may."""

from datetime import datetime

from headrace.ext_proc.admin.errors import ApiError, Code
from headrace.ext_proc.admin.tokens import ROSTER, Role, TokenRecord, id_of, is_of, unpacked
from headrace.ext_proc.core.ports import Store

_CHALLENGE = {"www-authenticate": 'Bearer realm="headrace admin"'}


async def admitted(store: Store, authorization: list[str], role: Role, now: datetime) -> TokenRecord:
    """The token of a caller who may do what `role` may. The store is asked each time: a token that is revoked ends at once.

    authorization: the values of the header. Raises ApiError, and StoreUnavailable.
    """
    return checked(await known(store, _shown(authorization)), role, now)


def checked(token: TokenRecord | None, role: Role, now: datetime) -> TokenRecord:
    """The token, which is one, has not ended, and may do what `role` may. Raises ApiError."""
    if token is None or token.revoked:
        raise _unauthenticated("auth.invalid", "The token is not valid.")
    if token.is_expired(now):
        raise _unauthenticated("auth.expired", "The token has expired. Make another with `headrace admin token create`.")
    if not token.allows(role):
        roles = " and ".join(token.roles)
        raise ApiError("auth.forbidden", f"This is for the role {role}; the token has {roles}.")
    return token


def _shown(authorization: list[str]) -> str:
    """The bearer token. Raises ApiError where there is not exactly one."""
    if not authorization:
        raise _unauthenticated("auth.missing", "Send your admin token as 'Authorization: Bearer hra-…'.")
    scheme, _, token = authorization[0].partition(" ")
    if len(authorization) > 1 or scheme.lower() != "bearer":
        raise _unauthenticated("auth.invalid", "One 'Authorization: Bearer hra-…' is expected.")
    return token.strip()


async def known(store: Store, secret: str) -> TokenRecord | None:
    """Its record; None for what is no token of ours. Raises StoreUnavailable."""
    id = id_of(secret)
    record = await record_of(store, id) if id else None
    return record if is_of(secret, record) else None


async def record_of(store: Store, id: str) -> TokenRecord | None:
    """By the token's id, as the store has it at this moment. Raises StoreUnavailable."""
    listed = await store.listed(ROSTER, id)
    return unpacked(listed) if listed else None


def _unauthenticated(code: Code, message: str) -> ApiError:
    return ApiError(code, message, headers=_CHALLENGE)
