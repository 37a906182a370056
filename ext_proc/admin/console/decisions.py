"""Decisions: a search through them, and one in full."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from pydantic import Field
from starlette.responses import RedirectResponse, Response

from headrace.ext_proc.admin.console.frame import PREFIX, Visit, is_part
from headrace.ext_proc.admin.console.log import DecisionSource, Record, Search, Verdict, verdicts
from headrace.ext_proc.admin.errors import ApiError
from headrace.ext_proc.admin.operation import Given
from headrace.ext_proc.telemetry import phrases

PAGE = 25
Text = Annotated[str, Field(max_length=256)]


class DecisionQuery(Given):
    """As the form has it: times without an offset are UTC. after: where the page before ended."""

    who: Text = ""
    model: Text = ""
    verdict: Verdict | None = None
    reason: Text = ""
    exchange: Text = ""
    start: datetime | None = None
    end: datetime | None = None
    after: Annotated[str, Field(max_length=64)] = ""

    @property
    def search(self) -> Search:
        return Search(self.who.strip(), self.model.strip(), self.verdict, self.reason.strip(), _ms(self.start), _ms(self.end))

    def next(self, after: str) -> str:
        """The address of the next page."""
        given = self.model_dump(mode="json", exclude_none=True, exclude_defaults=True, exclude={"after"})
        return f"{PREFIX}/decisions?{urlencode({**given, 'after': after})}"


def _ms(at: datetime | None) -> int | None:
    if at is None:
        return None
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


async def page(visit: Visit) -> Response:
    query = visit.query(DecisionQuery)
    if query.exchange.strip():
        address = f"{PREFIX}/decisions/{quote(query.exchange.strip(), safe='')}"
        if is_part(visit.request):
            return Response(headers={"hx-redirect": address})
        return RedirectResponse(address, 303)
    if visit.console.decisions is None:
        return visit.page("decisions.html", source=None, query=query, rows=(), next="", back_to="")
    found = await visit.console.decisions.search(query.search, query.after, PAGE)
    values: Mapping[str, Any] = {
        "query": query, "rows": [Row(record) for record in found.records], "next": query.next(found.next) if found.next else "",
        "back_to": found.back_to, "source": visit.console.decisions,
    }  # fmt: skip
    return visit.page("_rows.html" if is_part(visit.request) and query.after else "decisions.html", **values)


class Row:
    """One decision, as a list shows it."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.exchange = str(record.get("exchange", ""))
        self.time = str(record.get("time", ""))
        self.model = str(record.get("model", ""))
        self.route = str(record.get("metadata", {}).get("route", ""))
        self.link = f"{PREFIX}/decisions/{quote(self.exchange, safe='')}"

    @property
    def who(self) -> str:
        principal: Mapping[str, str] = self.record.get("principal", {})
        return " / ".join(principal[level] for level in ("team", "app", "user") if principal.get(level)) or "nobody known"

    @property
    def verdict(self) -> str:
        found = verdicts(self.record)
        return next(one for one in ("failed", "refused", "would_refuse", "sent") if one in found)

    @property
    def reason(self) -> str:
        """Of the refusal, or what a filter in shadow mode would have refused it for; else of the route."""
        steps = self.record.get("steps", ())
        said = (step["reason"] for step in steps if step["outcome"] in ("would_reply", "failed"))
        return str(self.record.get("reason") or next(said, "") or self.record.get("metadata", {}).get("reason", ""))


async def one(visit: Visit) -> Response:
    exchange = visit.request.path_params["exchange"]
    found = await _about(visit.console.decisions, exchange)
    decision = next((record for record in found if record.get("kind") == "decision"), None)
    if decision is None:
        raise ApiError("not_found", "The decision log has no decision of this exchange, or not within what is looked through.")
    settlements = [record for record in found if record.get("kind") == "settlement"]
    candidates = [record for record in found if record.get("kind") == "candidate"]
    return visit.page(
        "decision.html", row=Row(decision), decision=decision, steps=[Step(step, decision) for step in decision.get("steps", ())],
        settlements=settlements, candidates=candidates, routing=_routing(decision), reserved=_reserved(decision),
    )  # fmt: skip


async def _about(source: DecisionSource | None, exchange: str) -> Sequence[Record]:
    if source is None:
        raise ApiError("not_found", "The service writes no decision log; start it with --decisions FILE.")
    return await source.about(exchange)


class Step:
    """What one filter said in one phase."""

    def __init__(self, step: Mapping[str, Any], decision: Record) -> None:
        self.filter, self.phase, self.reason = str(step["filter"]), str(step["phase"]), str(step["reason"])
        self.outcome = {"reply": "refused", "would_reply": "would refuse"}.get(step["outcome"], str(step["outcome"]))
        self.seconds = float(step.get("us", 0)) / 1e6
        self.note: Mapping[str, Any] = step.get("note", {})
        self.error = str(step.get("error", ""))
        self.words = _words(step)
        self.width = round(100 * float(step.get("us", 0)) / max(float(decision.get("elapsed_us", 0)), 1.0), 1)


def _words(step: Mapping[str, Any]) -> str:
    """As `headrace demo` says it; empty where it has no words for a note of another release's."""
    try:
        return phrases.step({**step, "reason": ""})  # which is shown beside them
    except (KeyError, TypeError, ValueError):
        return ""


def _note(decision: Record, filter: str) -> Mapping[str, Any]:
    notes = (step.get("note", {}) for step in decision.get("steps", ()) if step["filter"] == filter)
    return next((note for note in notes if note), {})


def _routing(decision: Record) -> Mapping[str, Any]:
    return _note(decision, "routing")


def _reserved(decision: Record) -> Sequence[Mapping[str, Any]]:
    """Of each budget."""
    found: Sequence[Mapping[str, Any]] = _note(decision, "budget").get("budgets", ())
    return found
