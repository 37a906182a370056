"""API keys in the store, without the keys themselves."""

from typing import Annotated
from urllib.parse import urlencode

from pydantic import Field
from starlette.responses import Response

from headrace.ext_proc.admin.console.frame import PREFIX, Visit
from headrace.ext_proc.admin.keys import KeyQuery, list_keys


class KeyPage(KeyQuery):
    limit: Annotated[int, Field(ge=1, le=100)] = 50


async def page(visit: Visit) -> Response:
    query = visit.query(KeyPage)
    found = await list_keys(visit.call(query))
    given = query.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"after"})
    next = f"{PREFIX}/keys?{urlencode({**given, 'after': found.next})}" if found.next is not None else ""
    return visit.page("keys.html", query=query, keys=found.keys, next=next)
