"""What the demo sends, and what it takes for granted: the status each request must get."""

from dataclasses import dataclass

MODEL = "llama-3.3-70b"
BURST = 20
BURST_CAP = 1700  # tokens of answer; seven such reservations fit into app-hour's cent, eight do not

_LINE = "The water runs down the race and over the wheel, and the stone turns while the river keeps its level. "


@dataclass(frozen=True, slots=True)
class Scene:
    """One request. script: how the simulated pool is to answer it."""

    name: str
    title: str
    prompt: str
    expected: int = 200
    model: str = MODEL
    caller: str = "ada"
    stream: bool = False
    max_tokens: int = 64
    script: str = "tokens=24 pace=5"


SCENES = (
    Scene("chat", "A short chat", "Why does a mill need a headrace?"),
    Scene("stream", "The same, streamed", "Why does a mill need a headrace? Take your time.", stream=True),
    Scene("long", "A prompt over 8,192 tokens", f"Summarise this report. {_LINE * 420}"),
    Scene(
        "pii",
        "A prompt with personal data, streamed back by the model",
        "Write to ada.lovelace@example.com that card 4111 1111 1111 1111 was charged, or call +44 20 7946 0958.",
        stream=True,
        script="echo pace=5",
        max_tokens=256,
    ),
    Scene("model", "A model that is not approved", "Hello", expected=403, model="gpt-4o"),
    Scene("key", "A key nobody issued", "Hello", expected=401, caller="nobody"),
)

BURST_SCENE = Scene(
    "burst",
    f"{BURST} requests at once against a budget of one cent an hour",
    "Translate this label.",
    caller="grace",
    max_tokens=BURST_CAP,
    script="tokens=24 delay=400",
)
