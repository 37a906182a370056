"""What a policy may say of the filter."""

from typing import Annotated, Literal

from pydantic import Field

from headrace.ext_proc.engine.policy.values import FileName
from headrace.ext_proc.engine.settings import FilterSettings

Action = Literal["replace", "redact", "mask", "block", "report", "off"]
Score = Annotated[float, Field(ge=0, le=1)]

# Below it stand Presidio's patterns for bare runs of digits, which only context words tell from order numbers.
MIN_SCORE = 0.4

ACTIONS = (
    "replace: a placeholder such as <EMAIL_ADDRESS_k3f9q2ma>, the same one for the same value. redact: the entity's name, "
    "<EMAIL_ADDRESS>. mask: a star for every character. block: refused. report: only recorded. off: not searched."
)


class PiiSettings(FilterSettings):
    """What happens to personal data in prompts and answers."""

    request: Action = Field("replace", description=f"What happens to findings in requests. {ACTIONS}")
    response: Action = Field("off", description=f"What happens to findings in answers that the model came up with. {ACTIONS}")
    restore: bool = Field(
        True, description="Put the values back where the model's answer repeats their placeholders (request: replace)."
    )
    model: tuple[str, ...] | str | None = Field(
        None,
        description="The language models that find names, places and organisations: none, rampart, spacy:<package or path>, "
        "onnx:<path>, or a list of them, the best first. Absent: rampart where it is installed, else none. A model is loaded only "
        "where entities need it.",
    )
    entities: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="What is looked for. Absent: what Presidio's default recognizers find, and PERSON, LOCATION and "
        "ORGANIZATION where a model finds them.",
    )
    min_score: Score = Field(
        MIN_SCORE, description="The score (0 to 1) a finding must reach, for entities that thresholds does not name."
    )
    thresholds: dict[str, Score] = Field(
        {}, description="Entity to the score a finding must reach, such as {US_BANK_NUMBER: 0.05}."
    )
    key_file: FileName | None = Field(
        None,
        description="A file with at least 32 bytes, relative to the policy: the secret the placeholders are made with. Absent: "
        "the environment variable HEADRACE_PII_KEY, else a secret made at start: placeholders then differ from worker to worker.",
    )
