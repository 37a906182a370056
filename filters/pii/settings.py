"""What a policy may say of the filter."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from headrace.ext_proc.engine.policy.values import FileName
from headrace.ext_proc.engine.settings import MAX_TIMEOUT_MS, FilterSettings
from headrace.filters.pii.action_settings import ACTIONS, Actions, Entity
from headrace.filters.pii.cutter import FEWEST_WORDS, WORDS

Score = Annotated[float, Field(ge=0, le=1)]

# Below it stand Presidio's patterns for bare runs of digits, which only context words tell from order numbers.
MIN_SCORE = 0.4

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

    request: Actions = Field(
        "replace",
        description="What happens to findings in requests: one action, or one for each entity and a `default` (replace) for the "
        f"others. {ACTIONS}",
    )
    response: Actions = Field(
        "off",
        description="What happens to findings in answers that the model came up with; as in `request`, with off as the default, "
        f"and no route. {ACTIONS}",
    )
    restore: bool = Field(
        True, description="Put the values back where the model's answer repeats their placeholders (request: replace)."
    )
    unknown: Literal["scan", "refuse"] = Field(
        "scan",
        description="Text in requests at a place that the API does not define. scan: searched like any other, and told in the "
        "decision. refuse: the request is refused.",
    )
    unknown_events: Literal["refuse", "scan"] = Field(
        "refuse",
        description="Events with text, of a searched stream, that the API does not define. refuse: the stream ends there. scan: "
        "searched one by one, so that a value that is cut in two by them passes.",
    )
    model: tuple[str, ...] | str | None = Field(
        None,
        description="The language models that find names, places and organisations: none, rampart, spacy:<package or path>, "
        "onnx:<path>, or a list of them, the best first. Absent: rampart where it is installed, else none. A model is loaded only "
        "where entities need it.",
    )
    timeout_ms: int = Field(
        4000,
        ge=1,
        le=MAX_TIMEOUT_MS,
        description="Milliseconds the filter may take for one verdict; a request whose search is not through by then is "
        "refused, or goes on unsearched with on_error: open. Keep the sum over the chain below the gateway's message timeout "
        "(5 s by default).",
    )
    model_timeout_ms: int | None = Field(
        None,
        ge=1,
        le=MAX_TIMEOUT_MS,
        description="Milliseconds the models may take for one request; at most two thirds of timeout_ms, which is the default.",
    )
    on_model_timeout: Literal["refuse", "patterns"] = Field(
        "refuse",
        description="What happens to a request with more new text than the models read in their time. refuse: 503; what was "
        "read is remembered, so that the request may be sent again. patterns: the rest is searched without them, and its length "
        "is told in the decision.",
    )
    model_processes: int = Field(
        3,
        ge=1,
        le=64,
        description="Processes of each worker that run the models. One is kept for short texts; with rampart each of the others "
        "reads some 40 KB a second on a core of its own, so that their number bounds how much new text a request may have.",
    )
    held_words: int = Field(
        WORDS,
        ge=FEWEST_WORDS,
        le=WORDS,
        description="Words of an answer's stream that are held back to be searched, at most. Fewer: events come sooner, models "
        "see less around a name, and have more to read. Requests are searched in pieces of the same length.",
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
