"""The policy document: what a policy file may say, as pydantic models. Its names are a contract with the operators.

The models hold what one value can tell by itself. What needs two places of the document (a pool and its upstream, a budget
and the filter that enforces it) is in `rules`; the filters' own settings are checked by the filters' models in `compile`.
Descriptions end up in the JSON Schema, which editors show.
"""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, Tag

from headrace.ext_proc.engine.policy.auditing import Audit
from headrace.ext_proc.engine.policy.budgets import Alerts, Budget
from headrace.ext_proc.engine.policy.part import Part, Secret
from headrace.ext_proc.engine.policy.pools import Pool, ServedBy
from headrace.ext_proc.engine.policy.values import (
    ClaimPath,
    Day,
    Encoding,
    Factor,
    FileName,
    HeaderName,
    HttpUrl,
    Identifier,
    IpPort,
    Name,
    PathGlob,
    PrincipalField,
    TimeZone,
    Tokens,
    UsdPerMillion,
    by_key,
    word_or_list,
    word_or_mapping,
)
from headrace.ext_proc.engine.translate.effort import Effort

MAX_SERVERS = 256


class Upstream(Part):
    """A server that answers requests."""

    url: HttpUrl = Field(description="Where it listens, such as http://10.0.0.7:8000. A path is put before the request's path.")
    dialect: Literal["openai", "anthropic"] | None = Field(
        None,
        description="The one API it speaks; chats of callers that speak the other are translated. Absent: it understands both.",
    )
    api_key: Secret | None = Field(
        None, description="The credential it asks for: {env: NAME} or {file: path}. Callers neither see it nor need it."
    )
    servers: tuple[IpPort, ...] = Field(
        (), max_length=MAX_SERVERS, description="The servers behind it, as ip:port; one is picked for each request by its metrics."
    )
    metrics: Literal["vllm", "sglang", "tensorrt-llm", "llama.cpp"] | None = Field(
        None, description="The engine whose metrics its servers have at /metrics. Absent: nothing is known of their load."
    )
    tags: tuple[Identifier, ...] = Field(
        (), max_length=32, description="What the routing filter's `tags` ask for, such as [eu, self-hosted]."
    )
    max_queue: int = Field(
        4, ge=0, le=1_000_000, description="Requests that may wait at a server; one with more gets none until they are fewer."
    )


class TokenizerFile(Part):
    """A tokenizer of your own."""

    file: FileName = Field(description="Hugging Face's tokenizer.json or Mistral's tekken.json, relative to the policy file.")


class TemplateFile(Part):
    """A chat template of your own."""

    file: FileName = Field(
        description="Hugging Face's tokenizer_config.json, or the Jinja that a file of its own has, relative to the policy file."
    )
    config: FileName | None = Field(
        None, description="The tokenizer_config.json whose special tokens a template in a file of its own names."
    )


Tokenizer = Annotated[
    Annotated[Encoding, Tag("word")] | Annotated[TokenizerFile, Tag("mapping")],
    word_or_mapping("must be the name of an encoding or {file: tokenizer.json}"),
]
Template = Annotated[
    Annotated[Literal["openai", "chatml", "llama3", "llama3.1"], Tag("word")] | Annotated[TemplateFile, Tag("mapping")],
    word_or_mapping("must be the name of a template or {file: tokenizer_config.json}"),
]


class Price(Part):
    """What tokens cost."""

    input: UsdPerMillion = Field(description="USD per million prompt tokens.")
    output: UsdPerMillion = Field(description="USD per million tokens of the answer.")
    cached_input: UsdPerMillion | None = Field(
        None, description="USD per million prompt tokens the provider served from its cache; the input price when absent."
    )
    cache_write: UsdPerMillion | None = Field(
        None, description="USD per million prompt tokens the provider put into its cache; the input price when absent."
    )
    cache_write_1h: UsdPerMillion | None = Field(
        None, description="The same for tokens it keeps for an hour; the price of cache_write when absent."
    )
    reasoning: UsdPerMillion | None = Field(
        None, description="USD per million tokens of the answer that are reasoning; the output price when absent."
    )


class Model(Part):
    """One entry of the approved catalogue."""

    name: Name = Field(
        description="What clients ask for. Globs (* ? [seq]) are allowed; an exact name wins over globs, then the first glob."
    )
    tokenizer: Tokenizer = Field(
        "o200k_base", description="What counts the prompt: an encoding, or {file: tokenizer.json}, or {file: tekken.json}."
    )
    template: Template = Field(
        "openai",
        description="What frames the messages of a chat: OpenAI's own formula, ChatML, which Qwen has, Llama's, or "
        "{file: tokenizer_config.json}. A tekken.json brings its own.",
    )
    context: Tokens | None = Field(
        None, description="The model's context in tokens; longer prompts are refused. Absent: the upstream decides."
    )
    price: Annotated[
        Annotated[Literal["auto"], Tag("word")] | Annotated[Price, Tag("mapping")],
        word_or_mapping("must be auto or {input: USD, output: USD} per million tokens"),
    ] = Field("auto", description="USD per million tokens, or auto: the published price of a model of this name.")
    service_tiers: dict[Annotated[str, Field(min_length=1, max_length=32)], Factor] = Field(
        {},
        description="Service tier, as the provider reports it, to the factor on every price, such as {batch: 0.5, priority: 2}.",
    )
    max_output: Tokens = Field(4096, description="Tokens of answer assumed when the request names no cap.")
    efforts: tuple[Effort, ...] = Field(
        (),
        description="The efforts of reasoning that it takes, such as [low, medium, high], where chats are translated for it. "
        "Absent: what a caller asks for is dropped then.",
    )
    shape: FileName | None = Field(
        None,
        description="The model's Hugging Face config.json, relative to the policy file: what a token takes in the KV cache of a "
        "pool's gpus.",
    )
    sunset: Day | None = Field(
        None, description="The day, in UTC, from which on its successor answers, or requests for it are refused: 2026-12-31."
    )
    successor: Name | None = Field(None, description="The model of the catalogue that answers in its place from `sunset` on.")
    served_by: tuple[ServedBy, ...] = Field(
        (), max_length=32, description="Models of the catalogue that answer for this name, in order; then it has no pools itself."
    )
    pools: tuple[Pool, ...] = Field((), description="In order; the first that holds prompt and answer serves the request.")


PEPPER = (
    "The file that holds the pepper the keys are hashed with, unless the environment variable HEADRACE_PEPPER does. "
    "By default headrace.pepper beside the keys file, or beside the policy for keys in the store."
)


class KeyFile(Part):
    """Keys in a file; only their HMACs are kept."""

    file: FileName = Field(description="A file made by `headrace keys create`, relative to the policy file.")
    pepper_file: FileName | None = Field(None, description=PEPPER)


class KeyStore(Part):
    """Keys in the store; only their HMACs are kept."""

    store: Literal[True] = Field(description="Keys are those in the store.")
    pepper_file: FileName | None = Field(None, description=PEPPER)
    stale_seconds: int = Field(
        30, ge=0, le=86_400, description="How long the keys that a worker knows are believed while the store does not answer."
    )


class Jwt(Part):
    """JSON Web Tokens of an identity provider. A token without `exp` is refused."""

    jwks: FileName = Field(description="The provider's keys: an https:// URL, or a file relative to the policy file.")
    audience: Annotated[
        Annotated[Name, Tag("word")] | Annotated[tuple[Name, ...], Field(min_length=1), Tag("list")], word_or_list()
    ] = Field(description="What `aud` must name, or several of which it must name one.")
    issuer: Name | None = Field(None, description="What `iss` must be; not checked when absent.")
    algorithms: tuple[Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519"], ...] = (
        Field(("RS256", "ES256"), min_length=1, description="Signature algorithms accepted.")
    )
    claims: dict[PrincipalField, ClaimPath] = Field(
        {"user": "sub"}, min_length=1, description="Which claim names the team, user and so on: groups.0 is the first of a list."
    )
    leeway_seconds: int = Field(30, ge=0, le=600, description="How far the provider's clock may be from ours.")


class ApiKeysSource(Part):
    """Callers show a key that Headrace issued."""

    api_keys: Annotated[Annotated[KeyFile, Tag("file")] | Annotated[KeyStore, Tag("store")], by_key("file", "store")] = Field(
        description="Where the keys are: {file: keys.yaml} or {store: true}."
    )


class JwtSource(Part):
    """Callers show a token that an identity provider signed."""

    jwt: Jwt = Field(description="Whose tokens are believed, and which claims name the caller.")


class HeadersSource(Part):
    """The gateway in front has authenticated the caller and says so in request headers."""

    headers: Annotated[dict[PrincipalField, HeaderName], Field(min_length=1)] = Field(
        description="Which header names the team, the user and so on. They are removed when another source named the caller: "
        "then a client has sent them."
    )


class Vouching(Part):
    """Nothing is to be set: the gateway names the parts of the principal."""


class GatewaySource(Part):
    """The gateway in front has authenticated the caller and vouches for it beside the request, where no client can write."""

    gateway: Vouching = Field(
        description="APISIX: the consumer, its group, its credential and its labels. Envoy: the dynamic metadata headrace.identity."
    )


IdentitySource = Annotated[
    Annotated[ApiKeysSource, Tag("api_keys")]
    | Annotated[JwtSource, Tag("jwt")]
    | Annotated[HeadersSource, Tag("headers")]
    | Annotated[GatewaySource, Tag("gateway")],
    by_key("api_keys", "jwt", "headers", "gateway"),
]


Globs = Annotated[
    Annotated[Name, Tag("word")] | Annotated[tuple[Name, ...], Field(min_length=1), Tag("list")],
    word_or_list(),
]
PathGlobs = Annotated[tuple[PathGlob, ...], Field(min_length=1, examples=[["GET /v1/models", "GET /v1/models/*"]])]
OtherPaths = Annotated[
    Annotated[Literal["pass", "refuse"], Tag("word")] | Annotated[PathGlobs, Tag("list")],
    word_or_list(),
]
Settings = dict[str, JsonValue]


class Override(Part):
    """Other settings for some callers."""

    when: dict[PrincipalField, Globs] = Field(
        min_length=1, description="Whom it concerns: every field given must match. A value is a glob, or a list of globs."
    )
    set: dict[str, Settings] = Field(
        min_length=1, description="Filter name to the settings that replace those of the chain, such as {pii: {mode: shadow}}."
    )


class Candidate(Part):
    """Another policy, tried on live traffic beside this one, with no effect on it."""

    file: FileName = Field(description="The other policy, relative to this file.")
    share: float = Field(1.0, gt=0, le=1, description="Of the exchanges, drawn at random, on which it is tried.")


class PolicyDocument(Part):
    """A Headrace policy."""

    version: Literal[1] = Field(description="The version of this format.")
    upstreams: dict[Identifier, Upstream] = Field(
        {},
        description="For `headrace up` and `headrace envoy config`; an existing gateway has its own routes.",
        json_schema_extra={"additionalProperties": False},
    )
    models: tuple[Model, ...] = Field((), description="The approved catalogue; a model that is not here is refused.")
    identity: tuple[IdentitySource, ...] = Field((), description="Tried in order; the first that applies names the principal.")
    budgets: tuple[Budget, ...] = Field((), description="All must admit a request.")
    time_zone: TimeZone = Field("UTC", description="Where a budget's hours, days, weeks and months begin, such as Europe/Berlin.")
    alerts: Alerts = Field(Alerts(), description="Who is told when a budget reaches one of its thresholds.")
    filters: tuple[Annotated[dict[str, Settings], Field(min_length=1, max_length=1)], ...] = Field(
        (), description="The chain, in order: a list of {filter: settings}."
    )
    overrides: tuple[Override, ...] = Field((), description="Other settings for some callers; later ones win.")
    candidate: Candidate | None = Field(
        None, description="Another policy that is tried on live traffic, off the request path; differences are recorded."
    )
    audit: Audit | None = Field(
        None, description="Every decision and every settlement, chained and signed, on disk. Absent: nowhere."
    )
    other_paths: OtherPaths = Field(
        "pass",
        description="Requests that are no LLM calls Headrace knows: pass, refuse, or those that pass, such as [GET /v1/models].",
    )
