"""What a client is going to do: drawn before it begins, so that nothing that happens meanwhile changes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.simulation.chance import Lane
from tests.simulation.weather import Weather

PATHS = {
    "chat": "/v1/chat/completions",
    "messages": "/v1/messages",
    "embeddings": "/v1/embeddings",
    "other": "/v1/files",
}
KINDS = tuple(PATHS)
BURSTS, BURST_S = 5, 4.0
"""Exchanges begin in bursts, so many, each so long after the other: what is never alone is what goes wrong."""
BURST_MS = 120
"""Within which a burst's exchanges begin; most of them take as long."""
TROUBLES = ("", "cut off", "no UTF-8", "no object", "unknown model", "empty", "strange messages", "nobody", "a strange name")
REFUSED = {
    "cut off": "body.",
    "no UTF-8": "body.",
    "no object": "body.",
    "unknown model": "model.not_allowed",
    "empty": "body.",
    "nobody": "auth.missing",
    "a strange name": "auth.invalid",
}
"""Trouble → how the reason begins with which it must be refused, unless something else goes wrong before."""
WORDS = ("the", "mill", "race", "turns", "a", "wheel", "of", "stone", "and", "grain", "is", "ground", "to", "flour", "by", "it")


@dataclass(frozen=True)
class Plan:
    """secrets: personal data in the prompt, nobody else's. upload_s: until the body has come. hangs_up_s: 0: never."""

    starts_s: float
    organisation: str
    team: str
    user: str
    kind: str
    stream: bool
    max_tokens: int
    secrets: tuple[str, ...]
    body: bytes
    trouble: str
    upload_s: float
    hangs_up_s: float

    @property
    def headers(self) -> Mapping[str, str]:
        named = {"x-org": self.organisation, "x-team": self.team, "x-user": self.user}
        if self.trouble == "a strange name":
            named["x-team"] = "{" + self.team + "}"
        method = "GET" if self.kind == "other" else "POST"
        head = {":method": method, ":path": PATHS[self.kind], "content-type": "application/json"}
        return head if self.trouble == "nobody" else head | named


def planned(number: int, lane: Lane, weather: Weather) -> Plan | None:
    """None where the exchange was taken out of the run."""
    if not lane.happens(1.0, "takes place"):
        return None
    kind = KINDS[lane.pick(len(KINDS), 0.4, "kind")]
    stream = kind in ("chat", "messages") and lane.happens(0.5, "streams")
    tenant = lane.among(3, "tenant"), lane.among(2, "user")
    secrets = _secrets(number, lane) if kind in ("chat", "messages") else ()
    max_tokens = 8 + 8 * lane.among(6, "max_tokens")
    trouble = TROUBLES[lane.pick(len(TROUBLES), weather.clients, "trouble")] if kind != "other" else ""
    return Plan(
        starts_s=BURST_S * lane.among(BURSTS, "burst") + lane.ms(BURST_MS, 1.0, "starts"),
        organisation=f"org{tenant[0]}",
        team=f"team{tenant[0]}",
        user=f"user{tenant[1]}",
        kind=kind,
        stream=stream,
        max_tokens=max_tokens,
        secrets=secrets,
        body=_spoilt(_body(number, lane, kind, stream, max_tokens, secrets, trouble), trouble),
        trouble=trouble,
        upload_s=lane.ms(300, 0.3, "uploads"),
        hangs_up_s=_hang_up(lane, weather),
    )


def _hang_up(lane: Lane, weather: Weather) -> float:
    """Most exchanges are over within 100 ms, and some within a second."""
    if not lane.happens(weather.clients, "hangs up"):
        return 0.0
    most = (60, 300, 2000)[lane.among(3, "hangs up late")]
    return 0.0001 + lane.ms(most, 1.0, "hangs up after")


def _secrets(number: int, lane: Lane) -> tuple[str, ...]:
    emails = [f"person{number}.{index}@holder{number}.com" for index in range(lane.among(3, "addresses"))]
    return (*emails, _card(number)) if lane.happens(0.3, "a card") else tuple(emails)


def _card(number: int) -> str:
    """Sixteen digits with their check digit."""
    digits = f"4{number:014d}"
    total = sum(sum(divmod(int(digit) * (2 - index % 2), 10)) for index, digit in enumerate(digits))
    return digits + str(-total % 10)


def _body(number: int, lane: Lane, kind: str, stream: bool, max_tokens: int, secrets: tuple[str, ...], trouble: str) -> Any:
    model = "nothing" if trouble == "unknown model" else "m"
    if kind == "embeddings":
        return {"model": model, "input": _prose(lane)}
    text = ", ".join([_prose(lane), *(f"write to {secret} today" for secret in secrets), _prose(lane)])
    content: Any = 7 if trouble == "strange messages" else text
    chat = {"model": model, "messages": [{"role": "user", "content": content}], "max_tokens": max_tokens}
    return chat | {"stream": True} if stream else chat


def _prose(lane: Lane) -> str:
    words = 1400 if lane.happens(0.02, "a long prompt") else 3 + lane.among(20, "words")
    return " ".join(WORDS[index % len(WORDS)] for index in range(words))


def _spoilt(document: Any, trouble: str) -> bytes:
    body = json.dumps(document).encode()
    match trouble:
        case "cut off":
            return body[: len(body) // 2]
        case "no UTF-8":
            return body.replace(b"mill", b"\xff\xfe\xff\xfe")
        case "no object":
            return b"[" + body + b"]"
        case "empty":
            return b""
    return body
