"""Reversible placeholders such as `<EMAIL_ADDRESS_k3f9q2ma>`: what stands for a value towards the model.

The suffix is a keyed hash of entity and value: the same value has the same placeholder in every message and turn of a tenant,
and nobody without the key can find out the value by trying. It has a fixed length and an end mark, so that none is the prefix
of another.
"""

import re
from base64 import b32encode
from collections.abc import Iterable, Mapping
from hashlib import blake2b

SUFFIX = 8
"""Characters of base32: 40 bits."""
# As `restore` reads placeholders: brackets as JSON or HTML escapes them, underscores as Markdown does (in JSON, twice).
_LOOK_ALIKE = re.compile(
    rf"(?:<|\\u003c|&lt;)([A-Z](?:[A-Z0-9]|\\{{0,2}}_)*\\{{0,2}}_[a-z2-7]{{{SUFFIX}}})\\{{0,2}}(?:>|\\?u003e|&gt;)", re.IGNORECASE
)
_TRIES = 1000


def look_alikes(text: str) -> Iterable[str]:
    """What in `text` could be taken for a placeholder, in lower case and without escapes."""
    if "<" not in text and "\\" not in text and "&" not in text:
        return ()
    return (f"<{found.lower()}>".replace("\\", "") for found in _LOOK_ALIKE.findall(text))


class Placeholders:
    """The placeholders of one exchange.

    avoid: texts in lower case that no placeholder may equal. They stand in the request, written by the client or by whoever wrote
    the document it quotes: were one of them a placeholder of ours, an answer that repeats it would be given the value.
    """

    def __init__(self, key: bytes, avoid: frozenset[str] = frozenset()) -> None:
        self._key = key
        self._avoid = avoid
        self._tokens: dict[tuple[str, str], str] = {}
        self._values: dict[str, str] = {}

    def of(self, entity: str, value: str) -> str:
        """The placeholder for `value`; the same one every time."""
        token = self._tokens.get((entity, value))
        if token is None:
            token = self._tokens[entity, value] = self._free(entity, value)
            self._values[name_of(token)] = value
        return token

    def _free(self, entity: str, value: str) -> str:
        for attempt in range(_TRIES):
            token = f"<{entity}_{self._suffix(entity, value, attempt)}>"
            if token.lower() not in self._avoid and name_of(token) not in self._values:
                return token
        raise RuntimeError("no free placeholder: the request consists of them")

    def _suffix(self, entity: str, value: str, attempt: int) -> str:
        named = f"{attempt}\0{entity}\0{value}".encode("utf-8", "surrogatepass")
        return b32encode(blake2b(named, key=self._key, digest_size=5).digest()).decode().lower()

    @property
    def values(self) -> Mapping[str, str]:
        """The name of a placeholder → its value: what may be restored in this exchange's answer."""
        return self._values

    def __len__(self) -> int:
        return len(self._tokens)


def name_of(token: str) -> str:
    """A placeholder without its brackets, in lower case."""
    return token[1:-1].lower()


def tenant_key(secret: bytes, organisation: str) -> bytes:
    """The key of one organisation's placeholders: another's never stand for the same value."""
    return blake2b(organisation.encode("utf-8", "surrogatepass"), key=secret, digest_size=32, person=b"headrace.pii").digest()
