"""What a token is."""

from datetime import datetime

from pydantic import BaseModel, Field

from headrace.ext_proc.admin.operation import Call, Nothing
from headrace.ext_proc.admin.tokens import Role


class Caller(BaseModel):
    """The token that the request was made with."""

    id: str
    holder: str = Field(description="Whose it is; nobody approves what the same holder has asked for.")
    roles: list[Role]
    expires: datetime


async def show_caller(call: Call[Nothing, None]) -> Caller:
    token = call.token
    return Caller(id=token.id, holder=token.holder, roles=list(token.roles), expires=token.expires)
