"""The budget filter and its settings."""

from typing import ClassVar, Literal

from pydantic import Field

from headrace.ext_proc.core.request import Request
from headrace.ext_proc.core.session import Session
from headrace.ext_proc.engine.registry import Build
from headrace.ext_proc.engine.settings import FilterSettings
from headrace.filters.budget.books import Books
from headrace.filters.budget.session import BudgetSession


class BudgetSettings(FilterSettings):
    """The budgets themselves are in the policy's list `budgets`."""

    on_store_down: Literal["closed", "open", "local"] = Field(
        "closed",
        description="What happens while the store does not answer. closed: requests are refused with 503. open: they go on and "
        "are not counted, unless the store took the reservation after all. local: each worker admits from its own allowance.",
    )
    local_percent: int = Field(
        5,
        ge=1,
        le=100,
        description="With on_store_down: local, the percentage of each limit, rounded up to a whole unit, that every worker may "
        "admit in a window while the store is away. A budget is exceeded by that much for each worker, at most.",
    )
    lease_seconds: int = Field(
        3600,
        ge=60,
        le=7 * 86_400,
        description="How long an answer may take. A lease that is not settled by then stands at what was reserved.",
    )
    on_exhausted: Literal["finish", "cut"] = Field(
        "finish",
        description="What becomes of a stream that needs more than was reserved for it. finish: it goes on and is charged what it "
        "used. cut: its answer is reserved step by step while it is streamed, and it ends in-band where no budget holds the next "
        "step; streams are read here for it, which costs time per event.",
    )
    step_tokens: int = Field(
        256, ge=16, le=1_000_000, description="With on_exhausted: cut, tokens of a streamed answer that are reserved at a time."
    )


class BudgetFilter:
    """One per policy revision and variant of its settings."""

    name: ClassVar[str] = "budget"
    Settings: ClassVar[type[FilterSettings]] = BudgetSettings

    def __init__(self, settings: BudgetSettings, build: Build) -> None:
        self.needs_store = settings.on_store_down == "closed"
        self._books = Books(
            build,
            ttl_ms=settings.lease_seconds * 1000,
            fails_open=settings.on_store_down == "open",
            local_percent=settings.local_percent if settings.on_store_down == "local" else 0,
            step_tokens=settings.step_tokens if settings.on_exhausted == "cut" else None,
        )

    def open(self, request: Request) -> Session:
        return BudgetSession(self._books, request)
