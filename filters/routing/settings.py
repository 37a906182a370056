"""The routing filter's settings. The pools are in the policy's model catalogue."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from headrace.ext_proc.core.candidates import MAX_CANDIDATES
from headrace.ext_proc.engine.policy.values import Identifier, Name, UsdPerMillion
from headrace.ext_proc.engine.settings import FilterSettings

Preference = Literal["complexity", "price", "latency", "weight"]


class Failover(BaseModel):
    """Another pool where one fails."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attempts: int = Field(3, ge=2, le=MAX_CANDIDATES, description="Pools that one request may be sent to, the first one included.")
    first_token_timeout: float | None = Field(
        None,
        ge=0.05,
        le=3600,
        description="Seconds a streamed answer may take to begin before the next pool is asked. Absent: as long as it takes.",
    )
    idle_timeout: float = Field(
        120.0,
        ge=0.05,
        le=3600,
        description="Seconds of silence after which a pool counts as dead: before an answer the next one is asked, within it the "
        "answer is cut off. The gateway has one for all callers: the longest that any setting gives.",
    )


class MaxPrice(BaseModel):
    """The most that tokens of a model may cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    input: UsdPerMillion | None = Field(None, description="USD per million prompt tokens.")
    output: UsdPerMillion | None = Field(None, description="USD per million tokens of the answer.")

    @model_validator(mode="after")
    def _says_something(self) -> "MaxPrice":
        if self.input is None and self.output is None:
            raise ValueError("must hold input, output or both, in USD per million tokens")
        return self


class Complexity(BaseModel):
    """How requests are told apart that models of different sizes are best at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    large_from: int = Field(35, ge=0, le=101, description="Score, of 100, from which on a request is for a large model.")
    code_from: int = Field(40, ge=0, le=101, description="Score, of 100, from which on a request is about code; 101: never.")
    words: tuple[Annotated[str, Field(min_length=2, max_length=100)], ...] = Field(
        (), max_length=200, description="Further words of hard requests, as in other languages than English: [beweise, vergleiche]."
    )


class RoutingSettings(FilterSettings):
    """The pools are in the policy's model catalogue."""

    failover: Failover | None = Field(
        None, description="Where a pool fails, the next one that holds the request is asked. Absent: its failure is the answer."
    )
    tags: tuple[Identifier, ...] = Field(
        (), description="Only pools whose upstream has all of these tags: `overrides` keeps a tenant in the EU with [eu]."
    )
    accept: tuple[Name, ...] = Field((), description="Only these models may serve: names or globs. Empty: any of the catalogue.")
    max_price: MaxPrice | None = Field(None, description="Only models whose tokens cost at most this; one without a price falls.")
    prefer: tuple[Preference, ...] = Field(
        ("complexity", "weight"),
        description="Which of those that may serve comes first: by the first of these that tells them apart, then by the next. "
        "What none tells apart stays in the policy's order.",
    )
    complexity: Complexity = Field(
        Complexity.model_validate({}), description="The score by which requests are small, large or about code."
    )
