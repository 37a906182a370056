"""One number of an exposition, as a worker hands it to its supervisor."""

from collections.abc import Sequence

import msgspec


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """name: with its suffix (`_total`, `_bucket`, …). labels: name and value, in the order of the family's."""

    name: str
    labels: Sequence[tuple[str, str]]
    value: float
