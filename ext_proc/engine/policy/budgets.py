"""The policy's budgets: what is counted, for whom, over which time, and who hears of it."""

from decimal import Decimal
from typing import Annotated

from pydantic import Field, Tag

from headrace.ext_proc.engine.policy.part import Part, Secret
from headrace.ext_proc.engine.policy.values import (
    CalendarWindow,
    Dimension,
    HttpUrl,
    Identifier,
    Share,
    Tokens,
    Usd,
    by_key,
    word_or_mapping,
)


class UsdLimit(Part):
    """Money per window."""

    usd: Usd = Field(description="US dollars.")


class TokenLimit(Part):
    """Tokens per window, prompt and answer together."""

    tokens: Tokens = Field(description="Tokens of prompts and answers.")


class InputTokenLimit(Part):
    """Tokens of prompts per window."""

    input_tokens: Tokens = Field(description="Tokens of prompts.")


class OutputTokenLimit(Part):
    """Tokens of answers per window."""

    output_tokens: Tokens = Field(description="Tokens of answers.")


class RequestLimit(Part):
    """Requests per window."""

    requests: Tokens = Field(description="Requests that were admitted.")


class ConcurrencyLimit(Part):
    """Requests at the same time; it has no window."""

    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Requests that may run at the same time.")


class Sliding(Part):
    """The last seconds, whenever you look."""

    sliding: int = Field(ge=1, le=31 * 86_400, description="Seconds; at most 31 days.")


Limit = Annotated[
    Annotated[UsdLimit, Tag("usd")]
    | Annotated[TokenLimit, Tag("tokens")]
    | Annotated[InputTokenLimit, Tag("input_tokens")]
    | Annotated[OutputTokenLimit, Tag("output_tokens")]
    | Annotated[RequestLimit, Tag("requests")]
    | Annotated[ConcurrencyLimit, Tag("concurrency")],
    by_key("usd", "tokens", "input_tokens", "output_tokens", "requests", "concurrency"),
]
Window = Annotated[
    Annotated[CalendarWindow, Tag("word")] | Annotated[Sliding, Tag("mapping")],
    word_or_mapping("must be one of minute, hour, day, week, month, or {sliding: seconds}"),
]


class Budget(Part):
    """A limit on what each tenant may use in a window, or at the same time."""

    name: Identifier = Field(description="Names the budget in refusals, in reports and in the store.")
    per: tuple[Dimension, ...] = Field(
        min_length=1, description="What a counter is kept for, such as [team, user]: each user of each team."
    )
    limit: Limit = Field(
        description="How much: {usd: 500}, {tokens: 200000}, {input_tokens: 1000}, {output_tokens: 1000}, {requests: 60} or "
        "{concurrency: 8}."
    )
    window: Window | None = Field(
        None,
        description="minute, hour, day, week or month (calendar, in the policy's time_zone), or {sliding: seconds}. "
        "A limit on concurrency has none.",
    )
    warn_at: tuple[Share, ...] = Field(
        (), description="Parts of the limit, such as [0.5, 0.8]: who is named under alerts hears when one is reached."
    )


class Webhook(Part):
    """An HTTP endpoint that takes events, each signed as https://www.standardwebhooks.com describes."""

    url: HttpUrl = Field(description="Where events are posted.")
    secret: Secret = Field(
        description="What signs them: {env: VARIABLE} or {file: name}. 24 to 64 bytes in base64 after `whsec_`, or at least 24 "
        "characters, which count as they are."
    )


class Alerts(Part):
    """Who is told."""

    webhook: Webhook | None = Field(default=None, description="The endpoint that hears of thresholds that are reached.")


def shares(budget: Budget) -> tuple[Decimal, ...]:
    """The budget's thresholds, ascending."""
    return tuple(sorted(budget.warn_at))
