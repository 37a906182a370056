"""One exchange as it is told by all who saw it: the client, the gateway, the filters, the upstream, the records."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.simulation.chance import Lane
from tests.simulation.loop import OWNER
from tests.simulation.plan import Plan
from tests.simulation.weather import Weather


@dataclass
class Answered:
    """What the upstream answered, as it keeps it itself. usage: (prompt, answer) in tokens; None: it reports none.

    usage_at: bytes of the answer after which all of it has been said. tokens: placeholders of the prompt that it repeats. finding:
    personal data that it came up with.
    """

    status: int
    content_type: str
    chunks: list[bytes]
    usage: tuple[int, int] | None
    usage_at: int
    tokens: tuple[str, ...] = ()
    finding: str = ""
    dies: bool = False

    @property
    def is_stream(self) -> bool:
        return self.content_type.startswith("text/event-stream")


@dataclass
class Received:
    """What the client got. complete: up to its end. ours: the service refused the request, or replaced the answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False
    ours: bool = False


@dataclass
class Story:
    """label: of the policy in force when its stream was opened; empty: no stream was. doomed: why it must not reach an upstream.

    lost: how the news that settles it was lost. orphaned: the worker that served it died. settle: who settles it, as the service
    said; empty: it did not, or nobody heard it. seen_bytes: of the answer, by the gateway. read_here: the service had the answer.
    """

    number: int
    plan: Plan
    weather: Weather
    sabotage: Lane
    id: str = ""
    label: str = ""
    client: Received = field(default_factory=Received)
    answered: Answered | None = None
    forwarded: bool = False
    reached: bool = False
    doomed: str = ""
    lost: str = ""
    orphaned: bool = False
    settle: str = ""
    seen_bytes: int = 0
    read_here: bool = False
    hooks: Counter[tuple[str, str]] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)
    decisions: list[dict[str, Any]] = field(default_factory=list)
    settlements: list[str] = field(default_factory=list)

    def heard(self, name: str, hook: str, label: str) -> None:
        self.hooks[name, hook] += 1
        self.labels.add(label)

    @property
    def usage_seen(self) -> bool:
        """Whether the gateway has had all of the usage that the upstream reports."""
        answered = self.answered
        return answered is not None and answered.usage is not None and self.seen_bytes >= answered.usage_at


def story_of(exchange: str) -> Story:
    """Of the exchange with this id, in the world of the worker that asks."""
    worker: Any = OWNER.get()
    story: Story = worker.world.stories[exchange]
    return story
