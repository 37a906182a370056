"""The playground: what the policy would do with a request. It runs in the workshop; nothing is sent and nothing is charged."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response

from headrace.ext_proc.admin.console.decisions import Step
from headrace.ext_proc.admin.console.frame import Visit, is_part
from headrace.ext_proc.admin.console.workshop import WorkshopFailed
from headrace.ext_proc.admin.desks import At, explained
from headrace.ext_proc.admin.errors import ApiError, Problem, invalid
from headrace.ext_proc.admin.operation import Given
from headrace.ext_proc.admin.policies import budgets_of
from headrace.ext_proc.core.principal import DEFAULT_ORGANISATION, LEVELS  # fmt: skip
from headrace.ext_proc.core.principal import is_part as is_name
from headrace.ext_proc.engine.budgets.desk import Desk, Standing
from headrace.ext_proc.engine.keys import Part

BODY = 256 * 1024
"""Characters of a request that is tried."""
HEADERS = 8 * 1024
EXAMPLE = """{
  "model": "llama-3.3-70b",
  "max_tokens": 200,
  "messages": [
    {"role": "user", "content": "Write to ada@example.com that her card 4111 1111 1111 1111 was charged."}
  ]
}"""


class Trial(Given):
    """As the form has it. headers: one a line."""

    path: Annotated[str, Field(max_length=1000, pattern=r"^/")] = "/v1/chat/completions"
    headers: Annotated[str, Field(max_length=HEADERS)] = ""
    body: Annotated[str, Field(max_length=BODY)] = ""
    organisation: Part | None = None
    team: Part | None = None
    app: Part | None = None
    user: Part | None = None
    key: Part | None = None

    @property
    def who(self) -> Mapping[str, str]:
        return self.model_dump(include=set(LEVELS), exclude_none=True)

    @property
    def pairs(self) -> Sequence[tuple[str, str]]:
        """Raises ApiError."""
        return [_pair(line) for line in self.headers.splitlines() if line.strip()]


def _pair(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip() or not name.strip().isascii():
        raise invalid([Problem(where="headers", message=f"{line[:60]!r} is not like 'name: value'")])
    return name.strip().lower(), value.strip()


async def page(visit: Visit) -> Response:
    return visit.page("playground.html", trial=Trial(body=EXAMPLE), result=None, problem="")


async def tried(visit: Visit) -> Response:
    trial = _given(visit)
    problem, result, status = "", None, HTTPStatus.OK
    try:
        result = await _result(visit, trial)
    except ApiError as error:
        problem, status = str(error), error.status
    except WorkshopFailed as error:
        problem, status = str(error), HTTPStatus.SERVICE_UNAVAILABLE
    template = "_result.html" if is_part(visit.request) else "playground.html"
    return visit.page(template, status, trial=trial, result=result, problem=problem)


def _given(visit: Visit) -> Trial:
    """Raises ApiError."""
    return visit.fields(Trial)


async def _result(visit: Visit, trial: Trial) -> Mapping[str, Any]:
    """Raises ApiError and WorkshopFailed."""
    around = visit.console.around
    job = {"policy": str(around.site.policy), "gateway": around.gateway.value, "path": trial.path, "headers": trial.pairs,
           "body": trial.body, "who": trial.who}  # fmt: skip
    answer = await visit.console.workshop.ask(job)
    if "failed" in answer:
        raise WorkshopFailed(f"The request could not be tried: {answer['failed']}.")
    if "problems" in answer:
        return answer
    document = answer["document"]
    steps = [Step(step, {"elapsed_us": sum(one.get("us", 0) for one in document["filters"])}) for step in document["filters"]]
    return {**answer, "steps": steps, "standings": await _standings(visit, document)}


async def _standings(visit: Visit, document: Mapping[str, Any]) -> Sequence[Standing]:
    """How the caller's budgets stand in the store, which the trial has not touched."""
    principal: Mapping[str, str] = document.get("principal", {})
    whom = {level: value for level, value in principal.items() if level != "organisation" and is_name(value)}
    if document.get("model"):
        whom["model"] = document["model"]
    with explained():
        desk = Desk(budgets_of(visit.console.site.policy), visit.console.site.store, At(visit.now))
        return await desk.show(principal.get("organisation", DEFAULT_ORGANISATION), [whom])
