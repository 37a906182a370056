"""The settings every filter has."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["enforce", "shadow", "off"]
OnError = Literal["closed", "open"]

# Above this a filter cannot be told from one that hangs, and Envoy's own message timeout (5 s in our configuration) has struck.
MAX_TIMEOUT_MS = 30_000


class FilterSettings(BaseModel):
    """Base of every filter's settings; a filter adds its own fields. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mode: Mode = Field(
        "enforce",
        description="enforce: its verdicts count. shadow: it runs and its verdicts are recorded, but nothing is changed or "
        "refused. off: it does not run.",
    )
    on_error: OnError = Field(
        "closed",
        description="What happens when the filter fails or takes longer than timeout_ms. closed: the request is refused. "
        "open: the exchange goes on without the filter.",
    )
    timeout_ms: int = Field(
        1000,
        ge=1,
        le=MAX_TIMEOUT_MS,
        description="Milliseconds the filter may take for one verdict; then on_error decides. Keep the sum over the chain "
        "below the gateway's message timeout (5 s by default), which ends the request with a 504.",
    )
