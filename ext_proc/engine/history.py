"""What was done to a record, and by whom: it is kept with the record, and is its part of the audit trail."""

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Act(BaseModel):
    """One thing that was done, such as `created`. by: who did it, as the token or the command line named them."""

    model_config = ConfigDict(frozen=True)

    what: str
    by: str
    at: AwareDatetime
