"""What a policy may say of the filter."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from headrace.ext_proc.engine.policy.values import FileName, Matching
from headrace.ext_proc.engine.settings import FilterSettings

Action = Literal["replace", "redact", "mask", "block", "report", "off"]
Score = Annotated[float, Field(ge=0, le=1)]

# Below it stand Presidio's patterns for bare runs of digits, which only context words tell from order numbers.
MIN_SCORE = 0.4

ACTIONS = (
    "replace: a placeholder such as <EMAIL_ADDRESS_k3f9q2ma>, the same one for the same value. redact: the entity's name, "
    "<EMAIL_ADDRESS>. mask: a star for every character. block: refused. report: only recorded. off: not searched."
)


Entity = Annotated[str, Matching("[A-Z][A-Z0-9_]{1,63}", "a name in capitals, such as EMPLOYEE_ID")]
Word = Annotated[str, Field(min_length=1, max_length=200)]
Layer = Literal["context", "code", "decode"]

LAYERS = (
    "context: words beside a finding raise its score, as Presidio's do with a language model. code: in source code, what only "
    "looks like a name, a place or a domain is none. decode: text in base64, percent-encoding, HTML entities, escapes, full-width "
    "letters or broken by invisible characters is searched decoded, too."
)


class Pattern(BaseModel):
    """A regular expression and what its matches score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    regex: Annotated[str, Field(min_length=1)] = Field(
        description="In RE2's syntax, letters in either case; the first group, where there is one, is the finding."
    )
    score: Score = Field(0.5, description="From 0 to 1.")


class Recognizer(BaseModel):
    """A recognizer of the policy's own: patterns, words, or code of an installed package."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    entity: Entity = Field(description="What its findings are called.")
    patterns: tuple[Pattern, ...] = Field((), description="Searched in order.")
    context: tuple[Word, ...] = Field((), description="Words that raise a score by 0.35, to 0.4 at least, among the five before.")
    validator: Literal["luhn", "mod97", "verhoeff"] | None = Field(None, description="A check digit that findings must have.")
    deny_list: tuple[Word, ...] = Field((), description="Words that are findings wherever they stand alone, with a score of 1.")
    allow_list: tuple[Word, ...] = Field((), description="Values that are no findings of this recognizer.")
    python: str | None = Field(
        None, description="A recognizer in Python: its name in the entry-point group headrace.recognizers of an installed package."
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
    recognizers: tuple[Recognizer, ...] = Field((), description="Recognizers of the policy's own.")
    languages: tuple[str, ...] = Field(
        ("en",), min_length=1, description="Languages whose recognizers of Presidio's are run, such as en, de, es."
    )
    countries: tuple[str, ...] | None = Field(
        None, description="Countries whose recognizers of Presidio's are run, such as us, uk, de. Absent: those that Presidio runs."
    )
    layers: tuple[Layer, ...] = Field(
        ("context", "code", "decode"), description=f"What is done beyond Presidio's own findings; []: nothing. {LAYERS}"
    )
    allow_list: tuple[Word, ...] = Field((), description="Values that are no findings, whatever they look like.")
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
