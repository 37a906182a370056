"""What a request of the soak is, decided before it is sent: everything follows from the run's seed and the request's number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any

from headrace.ext_proc.cli.simulate.words import VOCABULARY
from tests.soak.malformed import MALFORMED
from tests.soak.policy import BULK, CLAUDE, COUNTED, EMBEDDER, MODEL, RESERVED
from tests.soak.seeds import values

ORGANISATIONS = 3
TEAMS = 8
"""Of each organisation, in one round."""
CAP = 900
"""Tokens of an echo's or a tool's answer: more than any prompt that is echoed has, for half a tool call is no JSON."""
TOOL_SCHEMA: Mapping[str, Any] = {"type": "object", "properties": {"text": {"type": "string"}}}


class Api(Enum):
    """What is called; the value is the path."""

    CHAT = "/v1/chat/completions"
    MESSAGES = "/v1/messages"
    RESPONSES = "/v1/responses"
    COMPLETIONS = "/v1/completions"
    EMBEDDINGS = "/v1/embeddings"


class Manner(Enum):
    """How the caller behaves."""

    SDK = "sdk"
    RAW = "raw"
    SLOW_WRITER = "slow writer"
    SLOW_READER = "slow reader"
    LEAVES_ASKING = "hangs up while it asks"
    LEAVES_READING = "hangs up while it reads"
    MALFORMED = "malformed body"
    STRANGER = "credential that is not good"
    WRONG_MODEL = "model that is not there"
    HUGE = "body over the limit"
    OTHER_PATH = "path that is not there"


@dataclass(frozen=True)
class Tenant:
    organisation: str
    team: str
    user: str


@dataclass(frozen=True)
class Ask:
    """said: the words of the prompt, personal data included; with `echo` the answer repeats them.

    leaves_at: which share of what it sends or gets a caller takes before it hangs up. script: how the pool answers.
    """

    number: int
    tenant: Tenant
    api: Api
    manner: Manner
    model: str
    said: str
    script: str
    cap: int
    stream: bool = False
    tool: bool = False
    echo: bool = False
    seeds: Sequence[str] = ()
    leaves_at: float = 1.0
    malformed: str = ""
    quick: bool = field(default=False)
    """A short chat without pauses, whose time is measured."""

    @property
    def anthropic(self) -> bool:
        """Whether its refusals are to be Anthropic's."""
        return self.api is Api.MESSAGES and self.manner is not Manner.OTHER_PATH

    @property
    def whole(self) -> bool:
        """The caller waits for all of the answer, and the pool means to give it."""
        return self.manner in (Manner.SDK, Manner.RAW, Manner.SLOW_READER, Manner.SLOW_WRITER)


_APIS = {Api.CHAT: 55, Api.MESSAGES: 25, Api.RESPONSES: 10, Api.COMPLETIONS: 4, Api.EMBEDDINGS: 6}
_MANNERS = {
    Manner.SDK: 600,
    Manner.RAW: 120,
    Manner.SLOW_WRITER: 40,
    Manner.SLOW_READER: 40,
    Manner.LEAVES_ASKING: 50,
    Manner.LEAVES_READING: 70,
    Manner.MALFORMED: 40,
    Manner.STRANGER: 15,
    Manner.WRONG_MODEL: 15,
    Manner.HUGE: 2,
    Manner.OTHER_PATH: 9,
}
_SIZES = {200: 300, 1_000: 400, 2_500: 200, 20_000: 60, 120_000: 20, 600_000: 5, 2_000_000: 2}
"""Bytes of a prompt, at most → weight."""
_FINE = {Api.EMBEDDINGS: frozenset({"a stream that is a word"})}
"""What the API has no member for, so that it is nobody's mistake."""
ECHOED = 2_500
"""Longer prompts are answered with words of the pool's own."""


def drawn(seed: int, number: int, round_: int) -> Ask:
    """The request of that number. Teams are named by round, so that each has its budgets from the beginning."""
    random = Random(f"{seed}:{number}")
    api, manner = _one_of(_APIS, random), _one_of(_MANNERS, random)
    tenant = _tenant(random, round_)
    size = 200 if manner is Manner.HUGE else _one_of(_SIZES, random)
    seeds = values(number, tenant.organisation, random)
    echo = size <= ECHOED and api is not Api.EMBEDDINGS and random.random() < 0.8
    script = _script(api, manner, random, echo=echo)
    tool = api in (Api.CHAT, Api.MESSAGES) and random.random() < 0.2
    return Ask(
        number=number,
        tenant=tenant,
        api=api,
        manner=manner,
        model=_model(api, size, manner),
        said=_said(seeds, size, random),
        script=script,
        cap=CAP if echo or tool else random.randrange(20, 60),
        stream=api is not Api.EMBEDDINGS and random.random() < 0.5,
        tool=tool,
        echo=echo,
        seeds=seeds,
        leaves_at=random.random(),
        malformed=random.choice(sorted(MALFORMED.keys() - _FINE.get(api, frozenset()))),
        quick=_is_quick(api, manner, size, script),
    )


def _is_quick(api: Api, manner: Manner, size: int, script: str) -> bool:
    return api is Api.CHAT and manner is Manner.SDK and size <= 1_000 and script == "echo"


def _one_of(weights: Mapping[Any, int], random: Random) -> Any:
    return random.choices(list(weights), list(weights.values()))[0]


def _tenant(random: Random, round_: int) -> Tenant:
    """The first teams of each round have rules of their own for streams that are hung up."""
    which = random.randrange(TEAMS)
    rule = {0: COUNTED, 1: RESERVED}.get(which, "team")
    return Tenant(f"org{random.randrange(ORGANISATIONS)}", f"{rule}-{round_}-{which}", f"user{random.randrange(3)}")


def _model(api: Api, size: int, manner: Manner) -> str:
    if manner is Manner.WRONG_MODEL:
        return "gpt-unknown"
    if api is Api.EMBEDDINGS:
        return EMBEDDER
    if size > 20_000:
        return BULK
    return CLAUDE if api is Api.MESSAGES else MODEL


def _said(seeds: Sequence[str], size: int, random: Random) -> str:
    """Words with the seeds among them; at most `size` bytes, if the seeds let it."""
    wanted = random.randrange(size // 5, size - 100) if size > 200 else 60
    start = random.randrange(len(VOCABULARY))
    filler = " ".join((VOCABULARY[start:] + VOCABULARY[:start]) * (wanted // 100 + 1))[:wanted].rpartition(" ")[0]
    at = filler.find(" ", random.randrange(max(len(filler) // 2, 1)))
    head, tail = (filler[:at], filler[at:]) if at > 0 else (filler, "")
    return f"{head} {', '.join(seeds)} and{tail}"


def _script(api: Api, manner: Manner, random: Random, *, echo: bool) -> str:
    """Most answers come at once; some are paced, a few fail, break off, or do not tell their usage."""
    chance = random.random()
    words = "echo" if echo else f"tokens={random.randrange(1, 60)}"
    if manner is Manner.LEAVES_READING:
        return f"{words} pace={random.choice((2, 10, 40))}"
    if chance < 0.015:
        return f"fail={random.choice((400, 429, 500, 503))}"
    if chance < 0.03 and api is not Api.EMBEDDINGS:
        return f"{words} die={random.randrange(0, 12)}"
    if chance < 0.05:
        return f"{words} usage=false"
    if chance < 0.3:
        return f"{words} pace={random.choice((1, 5, 20))} delay={random.choice((0, 20, 200))}"
    return words
