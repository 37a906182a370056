"""What was done about keys, tokens and budgets, and by whom."""

from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlencode

from pydantic import Field
from starlette.responses import Response

from headrace.ext_proc.admin.audit import AuditQuery, deeds_of
from headrace.ext_proc.admin.console.frame import PREFIX, Visit
from headrace.ext_proc.admin.operation import Given
from headrace.ext_proc.engine.keys import Part

PAGE = 50


class ActivityQuery(Given):
    """end: of a page, the time of the last deed on the page before."""

    by: Part | None = None
    subject: Annotated[str, Field(max_length=100)] | None = None
    end: datetime | None = None


async def page(visit: Visit) -> Response:
    query = visit.query(ActivityQuery)
    end = query.end and (query.end if query.end.tzinfo else query.end.replace(tzinfo=UTC))
    wanted = AuditQuery.model_validate({"to": end, "by": query.by, "subject": query.subject, "limit": PAGE})
    deeds = await deeds_of(visit.console.site.store, wanted)
    given = query.model_dump(mode="json", exclude_none=True, exclude={"end"})
    next = f"{PREFIX}/activity?{urlencode({**given, 'end': deeds[-1].at.isoformat()})}" if len(deeds) == PAGE else ""
    return visit.page("activity.html", query=query, deeds=deeds, next=next)
