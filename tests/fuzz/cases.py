"""The cases of a run: case `number` of a seed is the same in every run."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.fuzz.bodies import mutated
from tests.fuzz.drafts import Draft, Header, pieces
from tests.fuzz.framing import changed
from tests.fuzz.seeds import seed

NOBODY = b"hr-" + b"0" * 40


@dataclass(frozen=True)
class Part:
    """One request of a case. who: whose key it shows, by number; None for none, or for two, or for one that nobody has."""

    tag: str
    mail: str
    who: int | None
    anthropic: bool


@dataclass(frozen=True)
class Case:
    """What one connection says. whole: every request in it must be answered. over_http2: `drafts`, else `written`."""

    number: int
    parts: tuple[Part, ...]
    written: list[bytes]
    drafts: list[Draft]
    told: list[str]
    whole: bool
    starved: bool
    over_http2: bool = False
    wild: bool = False
    """Bytes of its HTTP were changed at random: what it says is not known."""


@dataclass(frozen=True)
class Cases:
    """secrets: of the callers."""

    seed: str
    secrets: Sequence[str]

    def case(self, number: int) -> Case:
        chance = random.Random(f"{self.seed}:{number}")
        kind = chance.random()
        if kind < 0.08:
            return self._pipelined(chance, number)
        part, draft = self._request(chance, number, f"{number}", http2=kind < 0.2)
        written = draft.written()
        wild = kind > 0.97
        if wild:
            draft.told.append("wild bytes")
            written = _wild(chance, written)
        parts, told = (part,), draft.told
        sound, starved = draft.sound and not wild, draft.starved or wild
        return Case(number, parts, pieces(chance, written), [draft], told, sound, starved, kind < 0.2, wild)

    def _pipelined(self, chance: random.Random, number: int) -> Case:
        made = [self._request(chance, number, f"{number}.{at}") for at in range(chance.choice([2, 2, 3]))]
        drafts = [draft for _, draft in made]
        told = ["pipelined", *(word for draft in drafts for word in draft.told)]
        sound = all(draft.sound for draft in drafts) and not any(
            b"close" in value for draft in drafts for _, value in draft.headers
        )
        written = b"".join(draft.written() for draft in drafts)
        starved = any(draft.starved for draft in drafts)
        return Case(number, tuple(part for part, _ in made), pieces(chance, written), drafts, told, sound, starved)

    def _request(self, chance: random.Random, number: int, tag: str, *, http2: bool = False) -> tuple[Part, Draft]:
        made = seed(chance, number)
        told: list[str] = ["HTTP/2"] if http2 else []
        body = mutated(chance, made, told)
        who, shown = self._credentials(chance, told)
        headers = [(b"x-fuzz", tag.encode()), (b"host", b"gateway"), (b"content-type", b"application/json"), *shown]
        draft = Draft(b"POST", made.path.encode(), body, headers, told=told)
        if not http2 or chance.random() < 0.5:
            changed(chance, draft)
        who = self._left(draft.headers) if who is None else who
        if http2:
            draft.sound = (
                draft.sound and draft.target.startswith(b"/") and all(_allowed_in_http2(name) for name, _ in draft.headers)
            )
        return Part(tag, made.mail, who, made.path == "/v1/messages"), draft

    def _left(self, headers: Sequence[Header]) -> int | None:
        """Whose key is the only one where `connection` names the header of another: a gateway takes that one away."""
        if not any(name.lower() == b"connection" and b"authorization" in value for name, value in headers):
            return None
        keys = [value.decode("latin-1") for name, value in headers if name.lower() == b"x-api-key"]
        return self.secrets.index(keys[0]) if len(keys) == 1 and keys[0] in self.secrets else None

    def _credentials(self, chance: random.Random, told: list[str]) -> tuple[int | None, list[Header]]:
        who = chance.randrange(len(self.secrets))
        secret, other = self.secrets[who].encode(), self.secrets[who - 1].encode()
        name, value = chance.choice([(b"authorization", b"Bearer " + secret), (b"x-api-key", secret), (b"api-key", secret)])
        if chance.random() < 0.9:
            return who, [(name, value)]
        told.append("credentials")
        odd: list[list[Header]] = [
            [], [(name, value), (name, value)], [(b"x-api-key", secret), (b"authorization", b"Bearer " + other)], [(name, b"")],
            [(b"authorization", b"Bearer " + NOBODY)], [(b"authorization", secret)], [(b"x-api-key", secret + b"," + other)],
            [(b"x_api_key", secret)], [(b"authorization", b"Basic " + secret)],
        ]  # fmt: skip
        return None, chance.choice(odd)


def _allowed_in_http2(name: bytes) -> bool:
    return name == name.lower() and name != b"transfer-encoding"


def _wild(chance: random.Random, written: bytes) -> bytes:
    """Bytes of the head changed, behind the tag, whose name may be in capitals."""
    start, end = written.lower().find(b"x-fuzz: ") + 20, written.find(b"\r\n\r\n") + 4
    found = bytearray(written)
    for _ in range(chance.choice([1, 2, 8])):
        at = chance.randrange(start, max(end, start + 1))
        found[at : at + chance.choice([0, 1, 1])] = chance.choice(
            [b"\r", b"\n", b"\r\n", b"\0", b" ", b":", bytes([chance.randrange(256)])]
        )
    return bytes(found)
